package boltengine

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// Some tests need a process of their own: to be killed, or to have its disk
// limited. They run this test binary again, which then does one of these.
var childRoles = map[string]func(ctx context.Context, path string) error{
	"write until killed": writeUntilKilled,
}

const (
	roleVariable = "BOLTENGINE_CHILD_ROLE"
	pathVariable = "BOLTENGINE_CHILD_PATH"
)

func TestMain(m *testing.M) {
	name := os.Getenv(roleVariable)
	if name == "" {
		os.Exit(m.Run())
	}
	role, known := childRoles[name]
	if !known {
		fmt.Fprintf(os.Stderr, "no such role: %s\n", name)
		os.Exit(2)
	}
	if err := role(context.Background(), os.Getenv(pathVariable)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// child is this test binary in another role. It ends with the test.
func child(t *testing.T, role, path string) *exec.Cmd {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), executable)
	cmd.Env = append(os.Environ(), roleVariable+"="+role, pathVariable+"="+path)
	cmd.Stderr = os.Stderr
	return cmd
}
