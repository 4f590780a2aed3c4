package command

import (
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// A command that arrives while the server makes its configuration active waits for it, and
// sends the same request again.
func TestCommandWaitsForTheConfiguration(t *testing.T) {
	var bodies []string
	out, _, err := execute(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if bodies = append(bodies, string(body)); len(bodies) < 3 {
			w.Header().Set(LoadingHeader, "true")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, `{"token":"t"}`)
	}, "token", "reader", "--user", "user-123")
	if err != nil || out != "t\n" || len(bodies) != 3 || bodies[0] == "" || bodies[2] != bodies[0] {
		t.Errorf("out %q, error %v, bodies %q", out, err, bodies)
	}
}

// Any other 503 is the answer.
func TestCommandDoesNotRepeatFailures(t *testing.T) {
	calls := 0
	_, _, err := execute(func(w http.ResponseWriter, _ *http.Request) {
		calls++
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
	}, "link", "list")
	if err == nil || calls != 1 {
		t.Errorf("%d calls, error %v", calls, err)
	}
}

// Caddy's spellings of a Unix socket are admin addresses, and an error names the socket.
func TestCommandsOverAUnixSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "admin.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"token":"t"}`)
	})}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	defer func() { server.Close(); <-done }()
	for _, address := range []string{"unix/" + socket, "unix/" + socket + "|0660", "unix+h2c/" + socket} {
		out, _, err := executeAt(address, "token", "reader", "--user", "user-123")
		if err != nil || out != "t\n" {
			t.Errorf("%s: out %q, error %v", address, out, err)
		}
	}
	if _, _, err := executeAt("unix/"+socket+".none", "link", "list"); err == nil || !strings.Contains(err.Error(), "no server answers at the admin address "+socket+".none") {
		t.Errorf("without a server the error is %v", err)
	}
	if _, _, err := executeAt("fd/3", "link", "list"); err == nil || !strings.Contains(err.Error(), "unix//run") {
		t.Errorf("with a file descriptor the error is %v", err)
	}
}

// A misspelt subcommand fails with the name that is meant. A script that revokes a link
// must not take the help for success.
func TestUnknownSubcommands(t *testing.T) {
	unreachable := func(http.ResponseWriter, *http.Request) { t.Error("a request was sent") }
	for args, want := range map[string]string{
		"link revok x":       "did you mean revoke?",
		"link rm x":          "gatefold link --help",
		"grant lst":          "did you mean list?",
		"grant improt f.csv": "did you mean import?",
		"rule tset f":        "did you mean",
		"domain lis":         "did you mean list?",
		"key rotat":          "did you mean rotate?",
		"store backpu f":     "did you mean backup?",
		"client revoked c":   "did you mean revoke?",
		"token readr":        "did you mean reader?",
	} {
		out, _, err := execute(unreachable, strings.Fields(args)...)
		if err == nil || !strings.Contains(err.Error(), want) || out != "" {
			t.Errorf("%s: out %q, error %v, want %s", args, out, err, want)
		}
	}
	for _, command := range Commands(Options{}) {
		if command.Usage != "<command>" {
			continue
		}
		if _, _, err := execute(unreachable, command.Name, "frobnicate"); err == nil || !strings.Contains(err.Error(), `has no command "frobnicate"`) {
			t.Errorf("%s frobnicate: the error is %v", command.Name, err)
		}
		if out, _, err := execute(unreachable, command.Name); err != nil || !strings.Contains(out, "Available Commands") {
			t.Errorf("%s alone prints %q, error %v", command.Name, out, err)
		}
	}
}
