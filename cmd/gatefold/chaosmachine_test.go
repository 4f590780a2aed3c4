package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// privateDisk is a file system of its own at a folder, which only processes in a private
// mount namespace see. It ends with the test.
type privateDisk struct {
	// prefix are the words before a program that is to see it.
	prefix []string
	// root is the root of the namespace, for others.
	root   string
	folder string
}

// newPrivateDisk mounts a disk at a folder: ext4 in a file, or tmpfs. It returns an error
// where that is not permitted.
func newPrivateDisk(t *testing.T, folder, size string, ext4 bool) (*privateDisk, error) {
	t.Helper()
	mount := fmt.Sprintf("mount -t tmpfs -o size=%s tmpfs %q", size, folder)
	if ext4 {
		image := filepath.Join(t.TempDir(), "disk")
		mount = fmt.Sprintf("truncate -s %s %[2]q && mkfs.ext4 -q -m 0 %[2]q && mount -o loop %[2]q %[3]q && chmod 700 %[3]q", size, image, folder)
	}
	words, enter := []string{"--mount"}, []string{"--mount"}
	if os.Getuid() != 0 {
		words, enter = append(words, "--user", "--map-root-user"), append(enter, "--user", "--preserve-credentials")
	}
	holder := exec.Command("unshare", append(words, "sh", "-c", mount+" && echo mounted && exec sleep infinity")...)
	var problem strings.Builder
	holder.Stderr = &problem
	output, err := holder.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := holder.Start(); err != nil {
		return nil, err
	}
	t.Cleanup(func() { _, _ = holder.Process.Kill(), holder.Wait() })
	if line, _ := bufio.NewReader(output).ReadString('\n'); line != "mounted\n" {
		_ = holder.Wait()
		return nil, fmt.Errorf("a private disk cannot be mounted: %s", strings.TrimSpace(problem.String()))
	}
	pid := strconv.Itoa(holder.Process.Pid)
	return &privateDisk{append([]string{"nsenter", "--target", pid}, append(enter, "--")...), "/proc/" + pid + "/root", folder}, nil
}

// path is where others find a path of the namespace.
func (d *privateDisk) path(inside string) string { return d.root + inside }

// fill fills the disk to the last block. The disk has space again when free is called.
func (d *privateDisk) fill() (free func(), err error) {
	name := d.path(filepath.Join(d.folder, "filler"))
	filler, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	for size := 1 << 20; size >= 512; {
		if _, err := filler.Write(make([]byte, size)); err == nil {
			continue
		}
		size /= 2
	}
	return func() { _ = os.Remove(name) }, filler.Close()
}

// steppedClock is the clock of a process in which testdata/clock/step.c is loaded.
type steppedClock struct {
	file      *os.File
	variables []string
}

// newSteppedClock compiles it. It returns an error without a C compiler.
func newSteppedClock(t *testing.T) (*steppedClock, error) {
	t.Helper()
	dir := t.TempDir()
	library := filepath.Join(dir, "step.so")
	if out, err := exec.Command("gcc", "-shared", "-fPIC", "-O1", "-o", library, "testdata/clock/step.c").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("the clock of Redis cannot be set: %w %s", err, out)
	}
	file, err := os.Create(filepath.Join(dir, "step"))
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = file.Close() })
	c := &steppedClock{file, []string{"LD_PRELOAD=" + library, "CLOCK_STEP_FILE=" + file.Name()}}
	return c, c.ahead(0)
}

// ahead makes the clock so much ahead of the machine's.
func (c *steppedClock) ahead(by time.Duration) error {
	var seconds [8]byte // as amd64 and arm64 have them in memory
	for i := range seconds {
		seconds[i] = byte(int64(by/time.Second) >> (8 * i))
	}
	_, err := c.file.WriteAt(seconds[:], 0)
	return err
}
