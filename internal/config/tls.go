package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// TLS says how clients' connections are encrypted.
type TLS struct {
	Cert, Key string // paths of PEM files; empty: not at all
	CA        string // path of a PEM file with those whose certificates clients must have; empty: they need none
	// Verify says that clients must have certificates. One that gives no user's name is the user whose name the certificate has.
	Verify bool
}

// Enabled says whether there is TLS.
func (t TLS) Enabled() bool { return t.Cert != "" }

// tls takes the files, and looks into them: the broker does not start without what should be there.
func (c *collector) tls(key string, n ast.Node, conf *Config) {
	t := &conf.Broker.TLS
	var cert, secret []byte // of files that are good for themselves
	var at ast.Node         // where the key's file is named
	keep := func(to *[]byte, check func([]byte) error) func([]byte) error {
		return func(content []byte) error {
			err := check(content)
			if err == nil {
				*to = content
			}
			return err
		}
	}
	present := c.mapping(n, key,
		field{"cert", c.fileOf(conf, &t.Cert, keep(&cert, checkCert))},
		field{"key", func(key string, n ast.Node) {
			at = n
			c.fileOf(conf, &t.Key, keep(&secret, checkKey))(key, n)
		}},
		field{"ca", c.fileOf(conf, &t.CA, checkCA)},
		field{"verify", c.toggle(&t.Verify)},
	)
	if !isMapping(n) {
		return
	}
	for _, name := range []string{"cert", "key"} {
		if !present[name] {
			c.fail(n, join(key, name), "missing; write the path of a PEM file")
		}
	}
	if t.Verify && !present["ca"] {
		c.fail(n, join(key, "ca"), "missing; verify: true needs the certificates by which clients' are checked")
	}
	if cert == nil || secret == nil {
		return
	}
	if _, err := tls.X509KeyPair(cert, secret); err != nil {
		c.fail(at, join(key, "key"), "it is not the key of the certificate in %s, which must be the first one there: %s", t.Cert, strings.TrimPrefix(err.Error(), "tls: "))
	}
}

// checkCert wants the server's certificate, which may have others behind it.
func checkCert(content []byte) error {
	block := findPEM(content, isCertificate)
	if block == nil && findPEM(content, isKey) != nil {
		return errors.New("the file has a key and no certificate; are cert and key swapped?")
	}
	if block == nil {
		return errNoCertificate
	}
	if _, err := x509.ParseCertificate(block.Bytes); err != nil {
		return errors.New("the certificate in the file is damaged; get it again from whoever made it")
	}
	return nil
}

// checkKey wants a key that nobody needs a password for.
func checkKey(content []byte) error {
	block := findPEM(content, isKey)
	switch {
	case block == nil && findPEM(content, isCertificate) != nil:
		return errors.New("the file has a certificate and no key; are cert and key swapped?")
	case block == nil:
		return errors.New("the file has no key in PEM form; name one with -----BEGIN PRIVATE KEY----- in it")
	case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "":
		return errors.New("the key has a password, which nobody is there to type; make a file without: openssl pkey -in … -out …")
	}
	return nil
}

var errNoCertificate = errors.New("the file has no certificate in PEM form; name one with -----BEGIN CERTIFICATE----- in it")

func checkCA(content []byte) error {
	if !x509.NewCertPool().AppendCertsFromPEM(content) {
		return errNoCertificate
	}
	return nil
}

func isCertificate(kind string) bool { return kind == "CERTIFICATE" }

func isKey(kind string) bool { return kind == "PRIVATE KEY" || strings.HasSuffix(kind, " PRIVATE KEY") }

// findPEM is the first part of a PEM file that is of some kind, or nil.
func findPEM(content []byte, is func(kind string) bool) *pem.Block {
	for {
		var block *pem.Block
		if block, content = pem.Decode(content); block == nil || is(block.Type) {
			return block
		}
	}
}
