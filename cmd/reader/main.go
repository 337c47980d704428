// Command reader is the reader process of one port. The supervisor starts it.
package main

import (
	"os"

	"github.com/serialvisor/serialvisor/internal/reader"
	"github.com/serialvisor/serialvisor/internal/worker"
)

func main() { os.Exit(worker.Main(reader.Run)) }
