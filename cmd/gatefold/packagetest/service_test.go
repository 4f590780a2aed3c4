package packagetest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys/keystest"
)

// deadline bounds how long a test waits for a process; it is not a measure of anything.
const deadline = 60 * time.Second

// service is gatefold in a root of its own, started as a unit or an image says.
type service struct {
	root  string   // the root of its files
	user  string   // user:group
	env   []string // NAME=value
	start []string // the command
	ports map[string]string

	process *exec.Cmd
	exited  chan error
	log     *keystest.Log
}

// command returns a program as the service's user in its root, with nothing of this
// process's environment.
func (s *service) command(env []string, args ...string) []string {
	command := append([]string{"env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, append(s.env, env...)...)
	return asRoot(append(command, append([]string{"chroot", "--userspec=" + s.user, s.root}, args...)...)...)
}

// gatefold runs a command beside the running service.
func (s *service) gatefold(t *testing.T, args ...string) string {
	t.Helper()
	command := s.command(nil, append(append([]string{"/usr/bin/gatefold"}, args...), "--address", "localhost:"+s.ports["2019"])...)
	return strings.TrimSpace(run(t, command[0], command[1:]...))
}

// run starts the service, and waits until it notifies its manager that it is ready.
func (s *service) run(t *testing.T) {
	t.Helper()
	const name = "/tmp/notify"
	socket := filepath.Join(s.root, name)
	_ = os.Remove(socket)
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err == nil {
		err = os.Chmod(socket, 0o666)
	}
	if err == nil {
		err = manager.SetReadDeadline(time.Now().Add(deadline))
	}
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	s.log = new(keystest.Log)
	command := s.command([]string{"NOTIFY_SOCKET=" + name}, s.start...)
	s.process = exec.Command(command[0], command[1:]...)
	s.process.Stdout, s.process.Stderr = s.log, s.log
	if err := s.process.Start(); err != nil {
		t.Fatal(err)
	}
	s.exited = make(chan error, 1)
	go func(process *exec.Cmd, exited chan error) {
		exited <- process.Wait()
		_ = manager.SetReadDeadline(time.Now()) // the process is gone: nothing will come
	}(s.process, s.exited)
	t.Cleanup(func() { _ = s.end() })
	buffer := make([]byte, 4096)
	for {
		n, err := manager.Read(buffer)
		if err != nil {
			t.Fatalf("the service does not become ready: %v\n%s", err, s.log)
		}
		if strings.Contains(string(buffer[:n]), "READY=1") {
			return
		}
	}
}

// stop stops the service as its manager does.
func (s *service) stop(t *testing.T) {
	t.Helper()
	if err := s.end(); err != nil {
		t.Fatalf("the service did not end well: %v\n%s", err, s.log)
	}
}

func (s *service) end() error {
	_ = s.process.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-s.exited:
		s.exited <- err
		return err
	case <-time.After(deadline):
		_ = s.process.Process.Kill()
		return errors.New("it does not end")
	}
}

// get returns the status of a GET, with name, value pairs as headers.
func (s *service) get(t *testing.T, address string, headers ...string) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.onPorts(address), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatalf("%v\n%s", err, s.log)
	}
	response.Body.Close()
	return response.StatusCode
}

// onPorts replaces the ports of the documents by those of the service.
func (s *service) onPorts(text string) string {
	for documented, port := range s.ports {
		text = strings.ReplaceAll(text, "localhost:"+documented, "localhost:"+port)
	}
	return text
}

// edit gives a Caddyfile ports that are free, so that two checkouts can be tested at
// once. It is also what an operator does first: change the file.
func (s *service) edit(t *testing.T, file string) {
	t.Helper()
	ports := keystest.FreePorts(t, 4)
	s.ports = map[string]string{"8080": ports[0], "8081": ports[1], "8082": ports[2], "2019": ports[3]}
	text := s.onPorts(read(t, file))
	text = strings.Replace(text, "\n{\n", "\n{\n\tadmin localhost:"+ports[3]+"\n", 1)
	if !strings.Contains(text, ports[3]) || !strings.Contains(text, ports[0]) {
		t.Fatalf("%s does not listen on the documented ports:\n%s", file, text)
	}
	write := exec.Command("tee", file)
	if command := asRoot("tee", file); len(command) > 2 {
		write = exec.Command(command[0], command[1:]...)
	}
	write.Stdin = strings.NewReader(text)
	if out, err := write.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// unit reads a unit file: the values of each setting, in order.
func unit(t *testing.T, file string) map[string][]string {
	t.Helper()
	settings := map[string][]string{}
	for line := range strings.Lines(read(t, file)) {
		if name, value, found := strings.Cut(strings.TrimSpace(line), "="); found && !strings.HasPrefix(name, "#") {
			settings[name] = append(settings[name], value)
		}
	}
	return settings
}

// unitService is the service of an installed unit.
func unitService(t *testing.T, root string) *service {
	t.Helper()
	settings := unit(t, filepath.Join(root, "usr/lib/systemd/system/gatefold.service"))
	for _, name := range []string{"User", "Group", "Environment", "ExecStart", "StateDirectory"} {
		if len(settings[name]) != 1 {
			t.Fatalf("the unit has %s %q", name, settings[name])
		}
	}
	if settings["Type"][0] != "notify" {
		t.Errorf("the unit has the type %s", settings["Type"])
	}
	return &service{
		root: root, user: fmt.Sprintf("%s:%s", settings["User"][0], settings["Group"][0]),
		env: strings.Fields(settings["Environment"][0]), start: strings.Fields(settings["ExecStart"][0]),
	}
}
