package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/nats-io/nkeys"
	"github.com/spf13/cobra"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/term"
)

const (
	// shortestPassword is in bytes. The broker lets others try as often as they like.
	shortestPassword = 10
	// longestPassword is what bcrypt takes.
	longestPassword = 72
	// longestInput is what is read of a file, enough to see that it is no password.
	longestInput = 4096
	// hashCost makes one attempt take about 60 ms.
	hashCost = 10
)

func passwdCommand() *cobra.Command {
	return &cobra.Command{
		Use: "passwd", Short: "Make the hash of a password, for broker.users in the config", Args: noArgs,
		Example: "  supervisor passwd\n  pwgen 20 1 | tee lab.password | supervisor passwd",
		RunE: func(c *cobra.Command, _ []string) error {
			password, err := readPassword(c.InOrStdin(), c.ErrOrStderr())
			if err != nil {
				return err
			}
			switch n := len(password); {
			case n < shortestPassword:
				return usagef("the password has %d bytes; it needs %d", n, shortestPassword)
			case n > longestPassword:
				return usagef("the password has %d bytes; it can have %d", n, longestPassword)
			}
			hash, err := bcrypt.GenerateFromPassword([]byte(password), hashCost)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), string(hash))
			return err
		},
	}
}

// readPassword reads the only line that there is, or from a terminal without showing it, and twice.
func readPassword(in io.Reader, prompts io.Writer) (string, error) {
	file, ok := in.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		all, err := io.ReadAll(io.LimitReader(in, longestInput))
		if err != nil {
			return "", err
		}
		line := strings.TrimSuffix(string(all), "\n")
		if strings.Contains(line, "\n") {
			return "", usagef("there is more than one line; give the password in one, and nothing else")
		}
		return strings.TrimRight(line, "\r"), nil
	}
	var both [2]string
	for i, prompt := range []string{"Password: ", "Again: "} {
		fmt.Fprint(prompts, prompt)
		text, err := term.ReadPassword(int(file.Fd()))
		fmt.Fprintln(prompts)
		if err != nil {
			return "", err
		}
		both[i] = string(text)
	}
	if both[0] != both[1] {
		return "", errors.New("the two are not the same")
	}
	return both[0], nil
}

func nkeyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "nkey", Short: "Make a key pair: the public key for broker.users in the config, the seed for the client", Args: noArgs,
		Example: "  supervisor nkey\n  supervisor nkey | sed -n -e '/^nkey/p' -e 's/^seed: //w lab.nkey'   # the seed goes to the file, for nats --nkey lab.nkey …",
		RunE: func(c *cobra.Command, _ []string) error {
			pair, err := nkeys.CreateUser()
			if err != nil {
				return err
			}
			public, err := pair.PublicKey()
			if err != nil {
				return err
			}
			seed, err := pair.Seed()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "nkey: %s\nseed: %s\n", public, seed)
			return err
		},
	}
}
