package process

import "testing"

func TestGroupFolder(t *testing.T) {
	const (
		unified = "25 30 0:23 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"
		hybrid  = "25 30 0:23 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n26 25 0:24 / /sys/fs/cgroup/unified rw shared:1 - cgroup2 cgroup2 rw\n"
		inside  = "25 30 0:23 /docker/abc /mnt/a\\040b rw - cgroup2 cgroup rw\n"
	)
	for _, c := range []struct{ what, groups, mounts, want string }{
		{"a service", "0::/system.slice/serialvisor.service\n", unified, "/sys/fs/cgroup/system.slice/serialvisor.service"},
		{"beside the old hierarchies", "9:name=systemd:/\n4:memory:/x\n0::/a\n", hybrid, "/sys/fs/cgroup/unified/a"},
		{"the root", "0::/\n", unified, "/sys/fs/cgroup"},
		{"a part of the tree", "0::/docker/abc/d\n", inside, "/mnt/a b/d"},
		{"outside of what is seen", "0::/docker/abcd\n", inside, ""},
		{"the old hierarchies alone", "4:memory:/x\n", "30 25 0:5 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n", ""},
		{"not mounted", "0::/a\n", "", ""},
	} {
		if got, err := groupFolder(c.groups, c.mounts); got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: %q, %v; want %q", c.what, got, err, c.want)
		}
	}
}

func TestKillsFindTheirVictims(t *testing.T) {
	k := kills{before: 7, last: 7}
	if k.take(7) {
		t.Error("nothing was killed")
	}
	k.look(9)
	for n := range 3 {
		if got, want := k.take(9), n < 2; got != want {
			t.Errorf("two were killed, and number %d is found: %t", n+1, got)
		}
	}
	k.look(10) // what took long to end
	if !k.take(10) {
		t.Error("what was new at the last look does not count")
	}
	k.look(12)
	k.look(12)
	if k.take(12) {
		t.Error("what was killed long ago counts still")
	}
}
