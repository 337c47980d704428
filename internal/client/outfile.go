package client

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// OutFile is a file that is written whole or not at all: it has another name, which says so, until it is finished.
// Devices and pipes are written to directly.
type OutFile struct {
	*bufio.Writer
	file   *os.File
	target string // what file becomes; empty: it is already
}

// CreateOutFile begins to write what shall be at path. A link is followed; the permissions of a file that is replaced
// are kept.
func CreateOutFile(path string) (*OutFile, error) {
	target, mode := path, fs.FileMode(0)
	if to, err := filepath.EvalSymlinks(path); err == nil {
		target = to
	}
	switch info, err := os.Stat(target); {
	case err == nil && info.IsDir():
		return nil, fmt.Errorf("write %s: it is a folder", path)
	case err == nil && !info.Mode().IsRegular():
		f, err := os.OpenFile(target, os.O_WRONLY, 0)
		if err != nil {
			return nil, fmt.Errorf("write %s: %w", path, reason(err))
		}
		return &OutFile{bufio.NewWriterSize(f, 64<<10), f, ""}, nil
	case err == nil:
		mode = info.Mode().Perm()
	}
	f, err := os.OpenFile(fmt.Sprintf("%s.%d.partial", target, os.Getpid()), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", path, reason(err))
	}
	o := &OutFile{bufio.NewWriterSize(f, 64<<10), f, target}
	if mode != 0 {
		if err := f.Chmod(mode); err != nil {
			o.Abandon()
			return nil, fmt.Errorf("write %s: %w", path, reason(err))
		}
	}
	return o, nil
}

// Finish writes what is left and gives the file its name. Whatever it returns, the file is closed.
func (o *OutFile) Finish() error {
	err := o.Flush()
	if err == nil && o.target != "" {
		err = o.file.Sync()
	}
	if closing := o.file.Close(); err == nil {
		err = closing
	}
	if err == nil && o.target != "" {
		err = os.Rename(o.file.Name(), o.target)
	}
	if err != nil {
		o.Abandon()
		return fmt.Errorf("write %s: %w", o.file.Name(), reason(err))
	}
	return nil
}

// Abandon closes the file and leaves nothing behind.
func (o *OutFile) Abandon() {
	_ = o.file.Close() // again, after Finish
	if o.target != "" {
		_ = os.Remove(o.file.Name())
	}
}

// reason is what the operating system said, without the name that the caller adds.
func reason(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
