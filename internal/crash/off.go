//go:build !crashpoints

// Package crash lets tests kill a worker at a named place, to see that its successor goes on as if nothing had happened. In
// programs built without the tag crashpoints it does nothing.
package crash

// Point is a place where the process can be killed.
func Point(string) {}
