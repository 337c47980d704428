// Command writer is the writer process of one port. The supervisor starts it.
package main

import (
	"os"

	"github.com/serialvisor/serialvisor/internal/worker"
	"github.com/serialvisor/serialvisor/internal/writer"
)

func main() { os.Exit(worker.Main(writer.Run)) }
