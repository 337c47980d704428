package ipc

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// Role is what a client of the broker may do.
type Role string

// The roles, each with more rights than the one before.
const (
	RoleTap   Role = "tap"   // see what ports receive and send; nothing that reaches a device
	RoleSend  Role = "send"  // and queue frames
	RoleAdmin Role = "admin" // and control the supervisor
)

// Roles lists all roles.
var Roles = []Role{RoleTap, RoleSend, RoleAdmin}

// EnvFile is the name of the file in the state folder that holds the role's Credentials.
func (r Role) EnvFile() string { return string(r) + ".env" }

// Files of the state folder that say whether a supervisor has it. LockFile is locked with flock(2) for as long as one does. For
// one that is upgraded there is UpgradingFile, until the next answers. Both have the pid.
const (
	LockFile      = "lock"
	UpgradingFile = "upgrading"
)

// variables lists c as NAME, value pairs. The root is there only if it is not the default one: stock NATS clients have
// no use for it.
func (c Credentials) variables() [][2]string {
	v := [][2]string{{EnvURL, c.URL}, {EnvUser, c.User}, {EnvPassword, c.Password}}
	if c.Root != "" && c.Root != DefaultRoot {
		v = append(v, [2]string{EnvRoot, c.Root})
	}
	return v
}

// EnvLines is the content of an env file: NAME=value lines.
func (c Credentials) EnvLines() string {
	var b strings.Builder
	for _, v := range c.variables() {
		fmt.Fprintf(&b, "%s=%s\n", v[0], v[1])
	}
	return b.String()
}

// Export is c as a line for a POSIX shell: export NATS_URL='…' ….
func (c Credentials) Export() string {
	var b strings.Builder
	b.WriteString("export")
	for _, v := range c.variables() {
		fmt.Fprintf(&b, " %s='%s'", v[0], strings.ReplaceAll(v[1], "'", `'\''`))
	}
	return b.String()
}

// CredentialsFrom builds Credentials from variables, as os.Getenv or an env file gives them.
func CredentialsFrom(getenv func(string) string) Credentials {
	c := Credentials{
		URL: getenv(EnvURL), User: getenv(EnvUser), Password: getenv(EnvPassword),
		InboxPrefix: getenv(EnvInboxPrefix), Root: getenv(EnvRoot),
	}
	if c.Root == "" {
		c.Root = DefaultRoot
	}
	return c
}

// ReadEnvFile is the counterpart of EnvLines.
func ReadEnvFile(r io.Reader) (Credentials, error) {
	vars := map[string]string{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if name, value, ok := strings.Cut(lines.Text(), "="); ok {
			vars[name] = value
		}
	}
	c := CredentialsFrom(func(name string) string { return vars[name] })
	if err := lines.Err(); err != nil {
		return c, err
	}
	if c.URL == "" {
		return c, fmt.Errorf("there is no %s in it", EnvURL)
	}
	return c, nil
}
