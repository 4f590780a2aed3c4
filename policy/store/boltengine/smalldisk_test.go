//go:build linux

package boltengine

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// onSmallDisk runs a role with a database on a disk of a size, a tmpfs that only this process
// sees, and returns what it prints. A user other than root gets a namespace of their own.
func onSmallDisk(t *testing.T, role, size string) string {
	t.Helper()
	folder := t.TempDir()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	template := child(t, role, filepath.Join(folder, "gatefold.db"))
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `mount -t tmpfs -o size="$2" none "$1" && exec "$3"`, "sh", folder, size, executable)
	cmd.Env = template.Env
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	return string(output)
}
