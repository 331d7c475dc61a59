package deploy

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
)

// program is where scm-hub or scm-agent was built to.
func program(t *testing.T, name string) string {
	t.Helper()
	folder := os.Getenv("SCM_PROGRAMS")
	if folder == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("SCM_PROGRAMS is not set")
		}
		t.Skip("SCM_PROGRAMS is not set: the folder with scm-hub and scm-agent")
	}
	return filepath.Join(folder, name)
}

// Every flag that charts, units and README use is one that the programs have.
func TestFlags(t *testing.T) {
	used := regexp.MustCompile(`/?(scm-(?:hub|agent))["` + "`" + `]?,? ?(?:args: )?\[?"?(run|check|serve|keygen|agents)\b([^\n` + "`" + `]*)`)
	flag := regexp.MustCompile(`--[a-z-]+`)
	helps := map[string]string{}
	found := 0
	err := filepath.WalkDir("..", func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			if entry != nil && entry.Name() == "tests" && path == "../tests" {
				return filepath.SkipDir
			}
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		// A chart's command and arguments, and a container file's, as one command line.
		joined := regexp.MustCompile(`(scm-(?:hub|agent))"\]\n(?:args: |CMD )\["`).ReplaceAllString(string(text), "$1 ")
		for _, use := range used.FindAllStringSubmatch(joined, -1) {
			command := use[1] + " " + use[2]
			if _, known := helps[command]; !known {
				said, err := exec.Command(program(t, use[1]), use[2], "--help").Output()
				if err != nil {
					t.Errorf("%s: %s --help: %v", path, command, err)
				}
				helps[command] = string(said)
			}
			for _, name := range flag.FindAllString(use[3], -1) {
				found++
				if !regexp.MustCompile(name + `\b`).MatchString(helps[command]) {
					t.Errorf("%s: %s has no %s", path, command, name)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 8 {
		t.Errorf("only %d flags were found", found)
	}
}

// started is a program that runs until the test ends, and its line of readiness.
type started struct {
	command *exec.Cmd
	ready   map[string]string
	log     *bytes.Buffer
}

func start(t *testing.T, name string, pod core.PodSpec, args ...string) started {
	t.Helper()
	command := exec.Command(program(t, name), args...)
	for _, variable := range pod.Containers[0].Env {
		command.Env = append(command.Environ(), variable.Name+"="+variable.Value)
	}
	log := &bytes.Buffer{}
	command.Stderr = log
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = command.Process.Kill() })
	// Ends a program that never gets ready, and with it the wait for its line.
	late := time.AfterFunc(30*time.Second, func() { _ = command.Process.Kill() })
	defer late.Stop()
	line, err := bufio.NewReader(out).ReadBytes('\n')
	ready := map[string]string{}
	if err != nil || json.Unmarshal(line, &ready) != nil {
		_ = command.Process.Kill()
		_ = command.Wait()
		t.Fatalf("%s said %q (%v):\n%s", name, line, err, log)
	}
	return started{command, ready, log}
}

// stop is what Kubernetes and systemd do.
func (s started) stop(t *testing.T) {
	t.Helper()
	if err := s.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(30*time.Second, func() { _ = s.command.Process.Kill() })
	defer late.Stop()
	if err := s.command.Wait(); err != nil {
		t.Errorf("%s: %v:\n%s", s.command.Path, err, s.log)
	}
}

// place writes a file where the pod would have it, below folder in place of /etc.
func place(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func below(folder string, args []string) []string {
	moved := []string{}
	for _, arg := range args {
		moved = append(moved, strings.ReplaceAll(arg, "/etc/", folder+"/"))
	}
	return moved
}

// What both charts write, in the hands of the programs: a request goes the whole way, over TLS, by an internal CA, with a
// credential that stays with the agent.
func TestChartsCarryARequest(t *testing.T) {
	program(t, "scm-hub")
	etc := t.TempDir()
	authority, certificate, key := certificates(t)
	server := httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		fmt.Fprintf(answer, "%s %s", request.Method, request.URL.Path)
		answer.(http.Flusher).Flush()
		fmt.Fprintf(answer, " %v", strings.Contains(fmt.Sprint(request.Header), "canary-token"))
	}))
	defer server.Close()

	hash := func(key string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(key))) }
	hub := render(t, "scm-hub", `
tls: { secretName: hub-tls }
agents: [{ name: acme, keys: ["`+hash("agent-key")+`"] }]
services: [{ name: repairs, agents: [acme], keys: ["`+hash("service-key")+`"] }]
minimumAgent: 0.1.0
limits: { patience_s: 20 }
log: debug
`)
	place(t, etc+"/scm-hub/hub.toml", hub.secret.Data["hub.toml"])
	place(t, etc+"/scm-hub/tls/tls.crt", certificate)
	place(t, etc+"/scm-hub/tls/tls.key", key)
	pod := hub.deployment.Spec.Template.Spec
	running := start(t, "scm-hub", pod, append(below(etc, pod.Containers[0].Args), "--listen", "127.0.0.1:0")...)
	url := running.ready["url"]

	// What an operator asks before anything is installed.
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool(authority)}}}
	head, err := client.Head(url + "/health")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "HEAD /health", head.StatusCode, 200)

	health := free(t)
	agent := render(t, "scm-agent", `
hub: `+url+`
accessKey: agent-key
allow: ["`+server.URL+`=any"]
allowAddresses: [127.0.0.1]
customCaCert: `+base64.StdEncoding.EncodeToString(authority)+`
gitproxy: { healthListen: "`+health+`", log: debug }
credentials: [{ origin: "`+server.URL+`", secret: { name: token } }]
`)
	place(t, etc+"/scm-agent/agent.toml", []byte(below(etc, []string{string(agent.secret.Data["agent.toml"])})[0]))
	place(t, etc+"/scm-agent/accessKey", agent.secret.Data["accessKey"])
	place(t, etc+"/scm-agent/credential-0", []byte("canary-token\n"))
	pod = agent.deployment.Spec.Template.Spec
	dialled := start(t, "scm-agent", pod, below(etc, pod.Containers[0].Args)...)
	equal(t, "agent", dialled.ready["agent"], "acme")

	// helm test.
	check := exec.Command(program(t, "scm-agent"), below(etc, agent.check.Spec.Containers[0].Args)...)
	if said, err := check.CombinedOutput(); err != nil {
		t.Errorf("check: %v\n%s", err, said)
	}

	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		answer, err := http.Get("http://" + health + path)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, path, answer.StatusCode, 200)
	}

	request, err := http.NewRequest("GET", url+"/v1/agents/acme/http/"+strings.TrimPrefix(server.URL, "http://")+"/hello", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Scm-Hub-Key", "service-key")
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "answer", string(body), "GET /hello true")

	dialled.stop(t)
	running.stop(t)
	for _, log := range []*bytes.Buffer{dialled.log, running.log} {
		contains(t, log.String(), "DEBUG")
		for _, secret := range []string{"agent-key", "service-key", "canary-token"} {
			absent(t, "the log", log.String(), secret)
		}
	}
}

// The examples for systemd, as far as they go before anything is dialled.
func TestExamplesAreTaken(t *testing.T) {
	etc := t.TempDir()
	place(t, etc+"/key", []byte("agent-key"))
	example, err := os.ReadFile("../systemd/agent.toml")
	if err != nil {
		t.Fatal(err)
	}
	// What is commented out, too.
	text := regexp.MustCompile(`(?m)^# (\[|[a-zA-Z]+ = )`).ReplaceAll(example, []byte("$1"))
	text = regexp.MustCompile(`file = "[^"]*"`).ReplaceAll(text, []byte(`file = "`+etc+`/key"`))
	text = bytes.Replace(text, []byte("customCaCert = {"), []byte("# customCaCert = {"), 1)
	place(t, etc+"/agent.toml", append(text, []byte("\nnonsense = 1\n")...))
	command := exec.Command(program(t, "scm-agent"), "run", "--config", etc+"/agent.toml", "--access-key-file", etc+"/key")
	said, err := command.CombinedOutput()
	if err == nil {
		t.Fatalf("nonsense was taken:\n%s", said)
	}
	equal(t, "exit code", command.ProcessState.ExitCode(), 3)
	contains(t, string(said), "nonsense")
}

func pool(authority []byte) *x509.CertPool {
	made := x509.NewCertPool()
	made.AppendCertsFromPEM(authority)
	return made
}

// free is an address of this machine on which nobody listens.
func free(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// certificates makes an authority that nobody knows, and one of its certificates for this machine.
func certificates(t *testing.T) (authority, certificate, key []byte) {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Company CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	rootDer, err := x509.CreateCertificate(rand.Reader, root, root, own.Public(), own)
	must(err)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "hub"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: root.NotBefore, NotAfter: root.NotAfter, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	leafDer, err := x509.CreateCertificate(rand.Reader, leaf, root, leafKey.Public(), own)
	must(err)
	keyDer, err := x509.MarshalPKCS8PrivateKey(leafKey)
	must(err)
	encode := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	return encode("CERTIFICATE", rootDer), encode("CERTIFICATE", leafDer), encode("PRIVATE KEY", keyDer)
}
