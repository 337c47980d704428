//go:build !race

package main

// raceDetector says whether the tests, and so the programs they run, look for data races.
const raceDetector = false
