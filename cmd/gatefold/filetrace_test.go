//go:build linux && amd64

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
)

// fileCall is a system call of a program that gave a file a name, or wrote one to the disk.
type fileCall struct {
	sync bool
	// path is the file that was synced, or the old name; to is the new one.
	path, to string
}

// fileTrace is what a program does to files, seen by the kernel: it runs under ptrace.
type fileTrace struct {
	process *os.Process
	calls   []fileCall
	ended   chan error
}

// traceFiles starts a program. It is traced until it ends.
func traceFiles(t *testing.T, cmd *exec.Cmd) *fileTrace {
	t.Helper()
	trace := &fileTrace{ended: make(chan error, 1)}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread that starts a program traces it, and ends with it
		cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Setpgid: true}
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		trace.process = cmd.Process
		started <- nil
		trace.ended <- trace.follow(cmd.Process.Pid)
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = trace.process.Kill() })
	return trace
}

const (
	syscallStop = syscall.SIGTRAP | 0x80
	// exitKill ends the program with its tracer.
	exitKill = 0x100000
)

// follow traces all threads until the last one ended.
func (f *fileTrace) follow(pid int) error {
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, syscall.WALL, nil); err != nil {
		return err
	}
	if err := syscall.PtraceSetOptions(pid, syscall.PTRACE_O_TRACECLONE|syscall.PTRACE_O_TRACESYSGOOD|exitKill); err != nil {
		return err
	}
	if err := syscall.PtraceSyscall(pid, 0); err != nil {
		return err
	}
	inside := map[int]bool{}
	var end error
	for {
		thread, err := syscall.Wait4(-pid, &status, syscall.WALL, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.ECHILD):
			return end
		case err != nil:
			return err
		}
		if !status.Stopped() {
			if thread == pid && (status.Signaled() || status.ExitStatus() != 0) {
				end = fmt.Errorf("it ended with %v, %d", status.Signal(), status.ExitStatus())
			}
			continue
		}
		signal := 0
		switch stop := status.StopSignal(); stop {
		case syscallStop:
			if inside[thread] = !inside[thread]; !inside[thread] {
				f.note(pid, thread)
			}
		case syscall.SIGTRAP, syscall.SIGSTOP: // a new thread
		default:
			signal = int(stop)
		}
		if err := syscall.PtraceSyscall(thread, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
}

// note notes a call that a thread has made.
func (f *fileTrace) note(pid, thread int) {
	var regs syscall.PtraceRegs
	if syscall.PtraceGetRegs(thread, &regs) != nil || regs.Rax != 0 {
		return // it failed, or is none of these
	}
	switch regs.Orig_rax {
	case syscall.SYS_FSYNC, syscall.SYS_FDATASYNC:
		path, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, regs.Rdi)) // empty if it is closed
		f.calls = append(f.calls, fileCall{sync: true, path: path})
	case syscall.SYS_RENAME, syscall.SYS_LINK:
		f.calls = append(f.calls, fileCall{path: text(thread, regs.Rdi), to: text(thread, regs.Rsi)})
	case syscall.SYS_RENAMEAT, syscall.SYS_LINKAT, 316: // the last is renameat2
		f.calls = append(f.calls, fileCall{path: text(thread, regs.Rsi), to: text(thread, regs.R10)})
	}
}

// text returns a text in the memory of a thread.
func text(thread int, at uint64) string {
	var all []byte
	word := make([]byte, 8)
	for len(all) < syscall.PathMax {
		if _, err := syscall.PtracePeekData(thread, uintptr(at)+uintptr(len(all)), word); err != nil {
			break
		}
		before, _, ended := bytes.Cut(word, []byte{0})
		if all = append(all, before...); ended {
			break
		}
	}
	return string(all)
}
