package broker

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// TLS says how clients' connections are encrypted, but for those of this machine's own programs.
type TLS struct {
	Cert, Key string // paths of PEM files; empty: not at all
	CA        string // path of a PEM file with those by whom clients' certificates are signed; empty: they need none
	Verify    bool   // clients must have certificates
}

// certificates are what is in the files, which are looked at again when a client connects: they are renewed while the gateway runs.
type certificates struct {
	files TLS
	log   *slog.Logger

	mu      sync.Mutex // guards all below
	looked  time.Time
	changed [3]time.Time // when the files were, of what is in config
	config  *tls.Config
}

// certificateLook is how often the files are looked at, at most.
const certificateLook = time.Second

// newCertificates reads the files. Without TLS it returns nil.
func newCertificates(files TLS, log *slog.Logger) (*certificates, error) {
	if files.Cert == "" {
		return nil, nil
	}
	c := &certificates{files: files, log: log}
	changed, err := c.times()
	if err == nil {
		c.config, err = c.read()
	}
	if err != nil {
		return nil, fmt.Errorf("broker.tls: %w", err)
	}
	c.changed, c.looked = changed, time.Now()
	return c, nil
}

// server is for listeners.
func (c *certificates) server() *tls.Config {
	config := c.current().Clone()
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current(), nil }
	// The listener for WebSockets does not ask for a config.
	config.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &c.current().Certificates[0], nil }
	config.Certificates = nil
	return config
}

// current is what is in the files. While they make no sense, as when half of them is renewed, the last that did is used.
func (c *certificates) current() *tls.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) < certificateLook {
		return c.config
	}
	c.looked = time.Now()
	changed, err := c.times()
	if err == nil && changed == c.changed {
		return c.config
	}
	var config *tls.Config
	if err == nil {
		config, err = c.read()
	}
	if err != nil {
		c.log.Error("renewed certificates are not used", "error", err, "remedy", "see to the files of broker.tls; they are looked at again")
		return c.config
	}
	c.log.Info("certificates were renewed", "file", c.files.Cert)
	c.config, c.changed = config, changed
	return config
}

func (c *certificates) times() (changed [3]time.Time, err error) {
	for i, path := range []string{c.files.Cert, c.files.Key, c.files.CA} {
		if path == "" {
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			return changed, err
		}
		changed[i] = info.ModTime()
	}
	return changed, nil
}

func (c *certificates) read() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(c.files.Cert, c.files.Key)
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", c.files.Cert, c.files.Key, err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	if c.files.CA == "" {
		return config, nil
	}
	text, err := os.ReadFile(c.files.CA)
	if err != nil {
		return nil, err
	}
	config.ClientCAs = x509.NewCertPool()
	if !config.ClientCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: there is no certificate in it", c.files.CA)
	}
	config.ClientAuth = tls.VerifyClientCertIfGiven
	if c.files.Verify {
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return config, nil
}
