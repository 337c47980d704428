package client

import (
	"os"
	"path/filepath"
	"testing"
)

// names lists what a folder holds.
func names(t *testing.T, folder string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func TestOutFile(t *testing.T) {
	folder := t.TempDir()
	path, link := filepath.Join(folder, "x"), filepath.Join(folder, "link")
	if err := os.Symlink("x", link); err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		path   string
		finish bool
		want   string
	}{{path, false, ""}, {path, true, "1"}, {path, false, "1"}, {link, true, "3"}, {path, true, "4"}} {
		f, err := CreateOutFile(c.path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(string(rune('0' + i))); err != nil {
			t.Fatal(err)
		}
		before, _ := os.ReadFile(path) // it may not be there yet
		if err := f.Flush(); err != nil {
			t.Fatal(err)
		}
		if now, _ := os.ReadFile(path); string(now) != string(before) {
			t.Errorf("the file holds %q before it is finished", now)
		}
		if c.finish {
			if err := f.Finish(); err != nil {
				t.Fatal(err)
			}
		}
		f.Abandon() // nothing is to be undone after Finish
		if got, _ := os.ReadFile(path); string(got) != c.want {
			t.Errorf("round %d: the file holds %q, want %q", i, got, c.want)
		}
	}
	if got := names(t, folder); len(got) != 2 {
		t.Errorf("the folder holds %v, want link and x", got)
	}
	if to, err := os.Readlink(link); to != "x" || err != nil {
		t.Errorf("the link is to %s, %v", to, err)
	}
}

// A file that cannot get its name is not left under another.
func TestOutFileThatCannotBeFinished(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "x")
	f, err := CreateOutFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := f.Finish(); err == nil {
		t.Error("a folder was replaced")
	}
	if got := names(t, folder); len(got) != 1 {
		t.Errorf("the folder holds %v, want x", got)
	}
}
