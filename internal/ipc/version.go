package ipc

// Version is that of the programs, which belong together. The linker sets it for releases.
var Version = "0.1.0"
