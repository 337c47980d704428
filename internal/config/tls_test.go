package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"testing"
)

// writePair makes the current folder's NAME.pem and NAME.key.
func writePair(t *testing.T, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, name+".pem", "CERTIFICATE", cert)
	writePEM(t, name+".key", "PRIVATE KEY", secret)
}

func writePEM(t *testing.T, path, kind string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestTLS has what stands in broker.tls, and what is said of it.
func TestTLS(t *testing.T) {
	t.Chdir(t.TempDir())
	writePair(t, "a")
	writePair(t, "b")
	writePEM(t, "damaged.pem", "CERTIFICATE", []byte("nonsense"))
	writePEM(t, "locked.key", "ENCRYPTED PRIVATE KEY", []byte("secret"))
	if err := os.WriteFile("text", []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const noCertificate = "the file has no certificate in PEM form; name one with -----BEGIN CERTIFICATE----- in it"
	for _, c := range []struct{ settings, want string }{
		{"cert: a.pem, key: a.key", ""},
		{"cert: a.pem, key: a.key, ca: b.pem, verify: true", ""},
		{"cert: a.pem", "f:1:15: broker.tls.key: missing; write the path of a PEM file"},
		{"cert: a.pem, key: a.key, verify: true", "f:1:15: broker.tls.ca: missing; verify: true needs the certificates by which clients' are checked"},
		{"cert: none.pem, key: a.key", "f:1:22: broker.tls.cert: open none.pem: no such file or directory; write the path of a file that is there, from the config's folder on"},
		{"cert: a.pem, key: none.key", "f:1:34: broker.tls.key: open none.key: no such file or directory; write the path of a file that is there, from the config's folder on"},
		{"cert: a.key, key: a.pem", "f:1:22: broker.tls.cert: the file has a key and no certificate; are cert and key swapped?\n" +
			"f:1:34: broker.tls.key: the file has a certificate and no key; are cert and key swapped?"},
		{"cert: a.pem, key: b.key", "f:1:34: broker.tls.key: it is not the key of the certificate in a.pem, which must be the first one there: private key does not match public key"},
		{"cert: text, key: text", "f:1:22: broker.tls.cert: " + noCertificate + "\nf:1:33: broker.tls.key: the file has no key in PEM form; name one with -----BEGIN PRIVATE KEY----- in it"},
		{"cert: damaged.pem, key: a.key", "f:1:22: broker.tls.cert: the certificate in the file is damaged; get it again from whoever made it"},
		{"cert: a.pem, key: locked.key", "f:1:34: broker.tls.key: the key has a password, which nobody is there to type; make a file without: openssl pkey -in … -out …"},
		{"cert: a.pem, key: a.key, ca: text", "f:1:45: broker.tls.ca: " + noCertificate},
		{"cert: a.pem, key: a.key, ca: none", "f:1:45: broker.tls.ca: open none: no such file or directory; write the path of a file that is there, from the config's folder on"},
	} {
		wantProblems(t, "broker: {tls: {"+c.settings+"}}\nports: {a: {device: x}}", c.want)
	}
	wantProblems(t, "broker: {listen: 0.0.0.0:4222, tls: {cert: a.pem, key: a.key}}\nports: {a: {device: x}}",
		`f:1:18: broker.listen: "0.0.0.0:4222" can be reached from other machines, and there is nobody who may: add users: to broker:, or insecure: true to it`)
	wantProblems(t, "broker: {users: [{name: a, role: tap}], tls: {cert: a.pem, key: a.key, ca: b.pem, verify: true}}\nports: {a: {device: x}}", "")
}

// wantProblems reads a config; want: what is said of it, empty for nothing.
func wantProblems(t *testing.T, text, want string) {
	t.Helper()
	_, err := Parse("f", []byte(text))
	got := ""
	if err != nil {
		got = err.Error()
	}
	if got != want {
		t.Errorf("%s:\ngot  %s\nwant %s", text, got, want)
	}
}
