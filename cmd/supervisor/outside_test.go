package main

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// authority signs certificates.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
	made int64
}

func newAuthority(t *testing.T, dir string) *authority {
	t.Helper()
	a := &authority{dir: dir}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a.key = key
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err == nil {
		a.cert, err = x509.ParseCertificate(der)
	}
	if err != nil {
		t.Fatal(err)
	}
	a.pool = x509.NewCertPool()
	a.pool.AddCert(a.cert)
	a.write(t, "ca.pem", "CERTIFICATE", der)
	return a
}

// write replaces a file, as tools do that renew certificates.
func (a *authority) write(t *testing.T, name, kind string, der []byte) {
	t.Helper()
	path := filepath.Join(a.dir, name)
	err := os.WriteFile(path+".new", pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// issue makes a certificate for a name, as name.pem and name.key, and returns its number.
func (a *authority) issue(t *testing.T, name string) (number int64) {
	t.Helper()
	a.made++
	number = 100 + a.made
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(number), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	a.write(t, name+".pem", "CERTIFICATE", der)
	a.write(t, name+".key", "PRIVATE KEY", secret)
	return number
}

func (a *authority) pair(t *testing.T, name string) tls.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(a.dir, name+".pem"), filepath.Join(a.dir, name+".key"))
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// freeAddress is one that nothing listens on at the moment.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// With TLS others need it, and this machine's own programs go on as they did. A certificate that is renewed is used from the next
// connection on, and one that makes no sense is not.
func TestTLS(t *testing.T) {
	g := newOpenGateway(t)
	a := newAuthority(t, g.dir)
	first := a.issue(t, "server")
	a.issue(t, "lab")
	stranger := newAuthority(t, t.TempDir())
	stranger.issue(t, "lab")
	address, web := freeAddress(t), freeAddress(t)
	g.setBroker(t, "listen: "+address+", tls: {cert: server.pem, key: server.key, ca: ca.pem, verify: true}, websocket: {listen: "+web+"}, users: [{name: lab, role: tap, ports: [gps]}]")
	g.run(t)
	g.await(t, "the port is open", func(p portNumbers) bool { return p.State == "open" })
	if inside := g.env(t, "tap")["NATS_URL"]; !strings.HasPrefix(inside, "nats://127.0.0.1:") {
		t.Errorf("the way without TLS is %s, and other machines could take it", inside)
	}

	url := "tls://" + address
	trusted := &tls.Config{RootCAs: a.pool, Certificates: []tls.Certificate{a.pair(t, "lab")}}
	nc, err := nats.Connect(url, nats.Secure(trusted), nats.CustomInboxPrefix("_INBOX_lab"), nats.NoReconnect())
	if err != nil {
		t.Fatalf("a client with a certificate: %v\n%s", err, g.errors)
	}
	defer nc.Close()
	sub, err := nc.SubscribeSync("serial.gps.rx")
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.device.Write([]byte("hello\n")); err != nil {
		t.Fatal(err)
	}
	if m, err := sub.NextMsg(patience); err != nil || string(m.Data) != "hello" {
		t.Errorf("it gets %v, %v", m, err)
	}
	for what, options := range map[string][]nats.Option{
		"without TLS":                   {},
		"without a certificate":         {nats.Secure(&tls.Config{RootCAs: a.pool})},
		"with a stranger's certificate": {nats.Secure(&tls.Config{RootCAs: a.pool, Certificates: []tls.Certificate{stranger.pair(t, "lab")}})},
		"with a certificate for nobody": {nats.Secure(&tls.Config{RootCAs: a.pool, Certificates: []tls.Certificate{a.pair(t, "server")}})},
	} {
		if nc, err := nats.Connect(strings.Replace(url, "tls:", "nats:", 1), append(options, nats.NoReconnect())...); err == nil {
			nc.Close()
			t.Errorf("a client %s was let in", what)
		}
	}

	// What the certificate's holder shows.
	number := func() int64 {
		t.Helper()
		c, err := nats.Connect(url, nats.Secure(trusted), nats.NoReconnect())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		state, err := c.TLSConnectionState()
		if err != nil {
			t.Fatal(err)
		}
		return state.PeerCertificates[0].SerialNumber.Int64()
	}
	if got := number(); got != first {
		t.Errorf("the server shows certificate %d, want %d", got, first)
	}
	a.write(t, "server.pem", "CERTIFICATE", []byte("nonsense"))
	waitUntil(t, "the log tells of a bad certificate", func() bool {
		if got := number(); got != first {
			t.Fatalf("the server shows certificate %d, want %d", got, first)
		}
		return strings.Contains(g.errors.String(), "renewed certificates are not used")
	})
	second := a.issue(t, "server")
	waitUntil(t, "the renewed certificate is used", func() bool { return number() == second })
	page, err := tls.Dial("tcp", web, trusted)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = page.Close() }()
	if got := page.ConnectionState().PeerCertificates[0].SerialNumber.Int64(); got != second {
		t.Errorf("pages are shown certificate %d, want %d", got, second)
	}
	if nc.Status() != nats.CONNECTED {
		t.Error("a client was cut off when a certificate was renewed")
	}
	g.mustRun(t, nil, "status")
}

// Browsers connect by WebSocket, from pages that may.
func TestWebSocket(t *testing.T) {
	g := newOpenGateway(t)
	address := freeAddress(t)
	g.setBroker(t, "listen: 127.0.0.1:0, websocket: {listen: "+address+", origins: [\"https://lab.example\"]}, users: [{name: page, password: "+
		g.hash(t, "correct horse")+", role: send, ports: [gps]}]")
	g.run(t)
	g.await(t, "the port is open", func(p portNumbers) bool { return p.State == "open" })
	nc, err := nats.Connect("ws://"+address, nats.UserInfo("page", "correct horse"), nats.CustomInboxPrefix("_INBOX_page"), nats.NoReconnect())
	if err != nil {
		t.Fatalf("%v\n%s", err, g.errors)
	}
	defer nc.Close()
	heard := g.hearUntil("ping\n")
	sub, err := nc.SubscribeSync("serial.gps.rx")
	if err == nil {
		_, err = nc.Request("serial.gps.tx", []byte("ping"), patience)
	}
	if err != nil {
		t.Fatal(err)
	}
	wantHeard(t, heard, "ping\n", patience)
	if _, err := g.device.Write([]byte("pong\n")); err != nil {
		t.Fatal(err)
	}
	if m, err := sub.NextMsg(patience); err != nil || string(m.Data) != "pong" {
		t.Errorf("it gets %v, %v", m, err)
	}
	for origin, want := range map[string]int{"https://lab.example": http.StatusSwitchingProtocols, "https://evil.example": http.StatusForbidden, "null": http.StatusForbidden} {
		if got := upgradeFrom(t, address, origin); got != want {
			t.Errorf("a page from %s gets status %d, want %d", origin, got, want)
		}
	}
}

// upgradeFrom asks for a WebSocket as the page of some origin does, and returns the status.
func upgradeFrom(t *testing.T, address, origin string) int {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	request, err := http.NewRequest(http.MethodGet, "http://"+address+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"Upgrade": "websocket", "Connection": "Upgrade", "Origin": origin, "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
	} {
		request.Header.Set(name, value)
	}
	if err := request.Write(conn); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	return response.StatusCode
}

// Stock clients of MQTT hear a port and send to it.
func TestMQTT(t *testing.T) {
	for _, program := range []string{"mosquitto_sub", "mosquitto_pub"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("there is no %s: apt-get install mosquitto-clients", program)
		}
	}
	g := newOpenGateway(t)
	address := freeAddress(t)
	host, port, _ := net.SplitHostPort(address)
	g.setBroker(t, "listen: 127.0.0.1:0, mqtt: {listen: "+address+"}, users: [{name: home, password: "+g.hash(t, "correct horse")+", role: send}, "+
		"{name: lab, password: "+g.hash(t, "battery staple")+", role: tap, ports: [gps]}]")
	g.run(t)
	g.await(t, "the port is open", func(p portNumbers) bool { return p.State == "open" })
	client := func(program, user, password string, args ...string) *exec.Cmd {
		return exec.Command(program, append([]string{"-h", host, "-p", port, "-u", user, "-P", password, "-V", "mqttv311"}, args...)...)
	}
	for _, c := range []struct{ user, password, topic, qos string }{{"home", "correct horse", "serial/#", "1"}, {"home", "correct horse", "serial/+/rx", "0"}, {"lab", "battery staple", "serial/gps/rx", "1"}} {
		said := make(chan []byte, 1)
		sub := client("mosquitto_sub", c.user, c.password, "-t", c.topic, "-q", c.qos, "-C", "1", "-W", "60", "-F", "%t %p")
		var problem bytes.Buffer
		sub.Stderr = &problem
		go func() { // ends with the client
			text, _ := sub.Output()
			said <- text
		}()
		var got []byte
		waitUntil(t, "the client hears the device", func() bool { // it does not say when it has subscribed
			if _, err := g.device.Write([]byte("hello\n")); err != nil {
				t.Fatal(err)
			}
			select {
			case got = <-said:
				return true
			case <-time.After(50 * time.Millisecond):
				return false
			}
		})
		if string(got) != "serial/gps/rx hello\n" {
			t.Errorf("%s hears %q on %s: %s\n%s", c.user, got, c.topic, problem.String(), g.errors)
		}
	}
	heard := g.hearUntil("two\n")
	for _, c := range []struct{ user, password, qos, text string }{
		{"home", "correct horse", "0", "one"}, {"lab", "battery staple", "1", "never"}, {"lab", "wrong", "1", "never"}, {"home", "correct horse", "1", "two"},
	} {
		out, err := client("mosquitto_pub", c.user, c.password, "-t", "serial/gps/tx", "-q", c.qos, "-m", c.text).CombinedOutput()
		if (err != nil) != (c.password == "wrong") {
			t.Errorf("%s: %v: %s", fmt.Sprint(c), err, out)
		}
	}
	wantHeard(t, heard, "one\ntwo\n", patience)
}
