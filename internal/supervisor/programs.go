package supervisor

import (
	"fmt"
	"os"
	"path/filepath"
)

// programs are the paths of the worker programs.
type programs struct{ self, reader, writer string }

// findPrograms finds the worker programs, which lie beside the supervisor.
func findPrograms(self string) (programs, error) {
	self, err := filepath.EvalSymlinks(self)
	if err != nil {
		return programs{}, fmt.Errorf("find the folder of the supervisor: %w", err)
	}
	p := programs{self, filepath.Join(filepath.Dir(self), "reader"), filepath.Join(filepath.Dir(self), "writer")}
	for _, path := range []string{p.reader, p.writer} {
		if info, err := os.Stat(path); err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
			return programs{}, fmt.Errorf("%s is missing: the programs supervisor, reader and writer belong into one folder; run go build -o bin/ ./cmd/... to build them", path)
		}
	}
	return p, nil
}
