package config

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// Restart says after which ends a worker is started again.
type Restart string

// The restart policies.
const (
	Always    Restart = "always"
	OnFailure Restart = "on-failure" // another exit code than 0, or a signal
	Never     Restart = "never"
)

// Worker is a process of the user's own.
type Worker struct {
	Name         string
	Command      []string // the program, as written, then its arguments
	Directory    string   // absolute: where it runs
	Env          []string // NAME=value, sorted
	Role         ipc.Role
	Ports        []string // that it may have to do with; none: all
	Restart      Restart
	Notify       bool          // it says READY=1
	StartTimeout time.Duration // in which it must have
	Watchdog     time.Duration // in which it must say WATCHDOG=1 again; 0: it need not
	StopTimeout  time.Duration // from SIGTERM to SIGKILL
	After        []string      // ports and workers that must be ready first
	Stdio        bool          // frames come in on stdin and go out from stdout
}

// Program finds the program of the command as it is now, in the worker's folder or in PATH.
func (w Worker) Program() (string, error) {
	if info, err := os.Stat(w.Directory); err != nil || !info.IsDir() {
		return "", fmt.Errorf("directory: %s is not a folder", w.Directory)
	}
	path := w.Command[0]
	if !strings.ContainsRune(path, '/') {
		found, err := exec.LookPath(path)
		if err != nil {
			return "", fmt.Errorf("command: there is no program %s in PATH; write its path", path)
		}
		return filepath.Abs(found)
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(w.Directory, path)
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return "", fmt.Errorf("command: there is no program %s; a relative path begins at directory: %s", path, w.Directory)
	case info.IsDir() || info.Mode()&0o111 == 0:
		return "", fmt.Errorf("command: %s cannot be executed: chmod +x %[1]s", path)
	}
	return path, nil
}

// defaultWorker is a Worker as it is when the file says nothing but its name.
func defaultWorker(name, directory string) Worker {
	return Worker{Name: name, Directory: directory, Role: ipc.RoleTap, Restart: Always, StartTimeout: 5 * time.Second, StopTimeout: 5 * time.Second}
}

// shortestWatchdog is a limit that the scheduler of a busy machine does not break by itself.
const shortestWatchdog = 50 * time.Millisecond

// workerNodes is where a worker's parts stand, for problems that concern several.
type workerNodes struct{ ports, after []ast.Node }

func (c *collector) workers(key string, n ast.Node, conf *Config) {
	directory, err := filepath.Abs(filepath.Dir(conf.Path))
	if err != nil {
		c.fail(n, key, "the folder of the config is not known: %v", err)
	}
	var nodes []workerNodes
	c.entries(n, key, func(name string, keyNode, value ast.Node) {
		switch {
		case !portPattern.MatchString(name):
			c.fail(keyNode, join(key, name), "%q cannot be a worker's name; use a to z, 0 to 9, - and _", name)
		case conf.Port(name) != nil:
			c.fail(keyNode, join(key, name), "a port has the same name, so that after: could mean either; choose another")
		}
		w := defaultWorker(name, directory)
		nodes = append(nodes, c.worker(join(key, name), keyNode, value, &w))
		conf.Workers = append(conf.Workers, w)
	})
	for i, w := range conf.Workers {
		c.checkNames(join(key, w.Name), w, nodes[i], conf)
	}
	c.checkOrder(key, conf.Workers, nodes)
}

func (c *collector) worker(key string, keyNode, n ast.Node, w *Worker) workerNodes {
	var nodes workerNodes
	at := map[string]ast.Node{}
	note := func(take func(string, ast.Node)) func(string, ast.Node) {
		return func(key string, n ast.Node) {
			at[key[strings.LastIndexByte(key, '.')+1:]] = n
			take(key, n)
		}
	}
	roles := roleNames()
	present := c.mapping(n, key,
		field{"command", func(key string, n ast.Node) { w.Command = c.command(key, n) }},
		field{"directory", func(key string, n ast.Node) {
			own := w.Directory
			c.path(&w.Directory)(key, n)
			if !filepath.IsAbs(w.Directory) {
				w.Directory = filepath.Join(own, w.Directory)
			}
		}},
		field{"env", func(key string, n ast.Node) { w.Env = c.environment(key, n) }},
		field{"role", note(c.choice(roles, func(s string) { w.Role = ipc.Role(s) }))},
		field{"ports", c.somePorts(&w.Ports, &nodes.ports)},
		field{"restart", c.choice([]string{string(Always), string(OnFailure), string(Never)}, func(s string) { w.Restart = Restart(s) })},
		field{"start_timeout", note(c.durationUpTo(longestWait, &w.StartTimeout))},
		field{"notify", c.toggle(&w.Notify)},
		field{"watchdog", note(c.durationUpTo(longestWait, &w.Watchdog))},
		field{"stop_timeout", c.durationUpTo(longestWait, &w.StopTimeout)},
		field{"after", func(key string, n ast.Node) { w.After, nodes.after = c.names(key, n, "the name of a port or worker") }},
		field{"stdio", c.toggle(&w.Stdio)},
	)
	if !isMapping(n) {
		return nodes
	}
	if w.Stdio && !present["role"] {
		w.Role = ipc.RoleSend
	}
	if !present["command"] {
		c.fail(keyNode, key+".command", "missing; write a list such as [./logger, --verbose], or a line for the shell")
	}
	if w.Watchdog != 0 && (w.Watchdog < shortestWatchdog || w.Watchdog > time.Hour) {
		c.fail(at["watchdog"], key+".watchdog", "%s is out of range; it can be from %s to 1h, or 0 for none", w.Watchdog, shortestWatchdog)
	}
	if present["start_timeout"] && !w.Notify {
		c.fail(at["start_timeout"], key+".start_timeout", "has no effect without notify: true")
	}
	if w.Notify && w.StartTimeout == 0 {
		c.fail(at["start_timeout"], key+".start_timeout", "0 leaves no time for READY=1; write a duration such as 5s")
	}
	if w.Stdio && w.Role == ipc.RoleAdmin {
		c.fail(at["role"], key+".role", "admin is of no use with stdio: true; write send or tap")
	}
	return nodes
}

func roleNames() (names []string) {
	for _, r := range ipc.Roles {
		names = append(names, string(r))
	}
	return names
}

// command takes a list, or a text that is a line for the shell.
func (c *collector) command(key string, n ast.Node) []string {
	if isScalar(n) && strings.TrimSpace(text(n)) != "" {
		return []string{"/bin/sh", "-c", text(n)}
	}
	list, ok := plain(n).(*ast.SequenceNode)
	if ok && len(list.Values) == 0 {
		c.fail(n, key, "the list is empty; name the program in it, as in [./logger, --verbose], or write a line for the shell")
		return nil
	}
	if !ok {
		c.fail(n, key, "%s is not a command; write a list such as [./logger, --verbose], or a line for the shell", described(n))
		return nil
	}
	var command []string
	for _, item := range list.Values {
		if !isScalar(item) || strings.ContainsRune(text(item), 0) {
			c.fail(item, key, "%s is not an argument", described(item))
			return nil
		}
		command = append(command, text(item))
	}
	return command
}

// environment takes a mapping of variables.
func (c *collector) environment(key string, n ast.Node) (list []string) {
	c.entries(n, key, func(name string, keyNode, value ast.Node) {
		switch {
		case name == "" || strings.ContainsAny(name, "=\x00"):
			c.fail(keyNode, join(key, name), "%q cannot be the name of a variable", name)
		case strings.HasPrefix(name, "SERIALVISOR_") || strings.HasPrefix(name, "NATS_") || slices.Contains([]string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}, name):
			c.fail(keyNode, join(key, name), "the supervisor sets it")
		case !isScalar(value) && plain(value).Type() != ast.NullType || strings.ContainsRune(text(value), 0):
			c.fail(value, join(key, name), "%s is not a text", described(value))
		default:
			content := ""
			if isScalar(value) {
				content = text(value)
			}
			list = append(list, name+"="+content)
		}
	})
	slices.Sort(list)
	return list
}

// checkNames finds ports and workers that do not exist.
func (c *collector) checkNames(key string, w Worker, nodes workerNodes, conf *Config) {
	for i, name := range w.Ports {
		if conf.Port(name) == nil {
			c.fail(nodes.ports[i], key+".ports", "there is no port %q; there are %s", name, strings.Join(conf.portNames(), ", "))
		}
	}
	others := conf.portNames()
	for _, other := range conf.Workers {
		if other.Name != w.Name {
			others = append(others, other.Name)
		}
	}
	for i, name := range w.After {
		switch {
		case name == w.Name:
			c.fail(nodes.after[i], key+".after", "a worker cannot wait for itself")
		case conf.Port(name) == nil && conf.Worker(name) == nil:
			c.fail(nodes.after[i], key+".after", "there is no port or other worker %q; there are %s", name, strings.Join(others, ", "))
		}
	}
}

// checkOrder finds workers that wait for each other in a circle.
func (c *collector) checkOrder(key string, workers []Worker, nodes []workerNodes) {
	const unseen, open, done = 0, 1, 2
	seen := map[string]int{}
	var path []string
	var visit func(i int)
	visit = func(i int) {
		w := workers[i]
		seen[w.Name] = open
		path = append(path, w.Name)
		for k, name := range w.After {
			next := slices.IndexFunc(workers, func(w Worker) bool { return w.Name == name })
			switch {
			case next < 0, seen[name] == done, name == w.Name:
			case seen[name] == open:
				circle := append(slices.Clone(path[slices.Index(path, name):]), name)
				c.fail(nodes[i].after[k], join(key, w.Name)+".after", "they wait for each other: %s", strings.Join(circle, " after "))
			default:
				visit(next)
			}
		}
		path = path[:len(path)-1]
		seen[w.Name] = done
	}
	for i, w := range workers {
		if seen[w.Name] == unseen {
			visit(i)
		}
	}
}
