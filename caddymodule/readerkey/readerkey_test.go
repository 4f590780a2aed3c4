package readerkey

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

func basic(text string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(text)) }

// A key is found wherever a program can write it, and nothing else is taken for one.
func TestFind(t *testing.T) {
	for _, test := range []struct {
		headers []string
		want    Credential
		found   bool
	}{
		{},
		{headers: []string{"Bearer gfk_abc"}, want: Credential{"gfk_abc", true}, found: true},
		{headers: []string{"bearer   gff_abc "}, want: Credential{"gff_abc", true}, found: true},
		{headers: []string{"Bearer eyJ.a.b"}},
		{headers: []string{"Bearer xgfk_abc"}},
		{headers: []string{"Bearer"}},
		{headers: []string{"gfk_abc"}},
		{headers: []string{basic("ann:gfk_abc")}, want: Credential{"gfk_abc", false}, found: true},
		{headers: []string{basic("ann@example.com:gff_a:b")}, want: Credential{"gff_a:b", false}, found: true},
		{headers: []string{strings.TrimRight(basic("ann:gfk_ab"), "=")}, want: Credential{"gfk_ab", false}, found: true},
		{headers: []string{basic("gfk_abc:")}, want: Credential{"gfk_abc", false}, found: true},
		{headers: []string{basic("gfk_abc")}, want: Credential{"gfk_abc", false}, found: true},
		{headers: []string{basic("gfk_abc:x")}, want: Credential{"gfk_abc", false}, found: true},
		{headers: []string{basic("ann:secret")}},
		{headers: []string{"Basic ***"}},
		{headers: []string{"Basic " + strings.Repeat("A", maxBasic+1)}},
		{headers: []string{"Digest username=gfk_abc"}},
		{headers: []string{"Bearer eyJ.a.b", "Bearer gfk_abc"}, want: Credential{"", true}, found: true},
		{headers: []string{"Bearer gfk_abc", "Bearer gfk_abc"}, want: Credential{"", true}, found: true},
	} {
		got, found := Find(test.headers)
		if found != test.found || found && got != test.want {
			t.Errorf("%q: %+v, %v", test.headers, got, found)
		}
	}
}

// written collects what Uses writes.
type written struct {
	mu   sync.Mutex
	uses map[string]int64
	err  error
	// commits are the calls that wrote.
	commits int
}

func (w *written) write(_ context.Context, uses []KeyUses) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	w.commits++
	for _, one := range uses {
		w.uses[one.ID] += one.Uses
	}
	return nil
}

func idOf(key string) (string, bool) { return "id of " + key, key != "" }

// Each key has its own minute. Counts are written together, and again if that failed.
func TestUses(t *testing.T) {
	w := &written{uses: map[string]int64{}, err: errors.New("down")}
	u := NewUses(2, idOf, w.write)
	u.writing = true // only when the test asks
	at := time.Unix(6000, 0)
	for i, want := range []bool{true, true, false, false} {
		if u.Take("a", at) != want {
			t.Errorf("use %d", i)
		}
	}
	if !u.Take("b", at) || u.Take("", at) || !u.Take("a", at.Add(time.Minute)) {
		t.Error("a minute is that of another key, or does not end")
	}
	if err := u.Write(t.Context()); err == nil {
		t.Error("the error is lost")
	}
	w.err = nil
	for range 2 {
		if err := u.Write(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if fmt.Sprint(w.uses) != "map[id of a:3 id of b:1]" || w.commits != 1 {
		t.Errorf("written is %v in %d commits", w.uses, w.commits)
	}
}

// What waits for a minute to end is written when the clock is set forward.
func TestUsesAfterTheClockWasSet(t *testing.T) {
	commits := make(chan []KeyUses, 2)
	u := NewUses(10, idOf, func(_ context.Context, uses []KeyUses) error {
		commits <- uses
		return nil
	})
	at := time.Unix(6000, 0)
	u.Take("a", at)
	<-commits // the first use at once
	for waiting := true; waiting; runtime.Gosched() {
		u.mu.Lock()
		waiting = u.writing
		u.mu.Unlock()
	}
	u.Take("a", at)
	u.Take("a", at.Add(writeEvery))
	select {
	case uses := <-commits:
		if uses[0].Uses != 2 {
			t.Errorf("written is %v", uses)
		}
	case <-time.After(writeEvery / 2):
		t.Error("nothing is written")
	}
}

// The memory is bounded: of too many keys those go first that are written and rest.
func TestUsesAreBounded(t *testing.T) {
	w := &written{uses: map[string]int64{}}
	u := NewUses(1, idOf, w.write)
	u.writing = true
	at := time.Unix(6000, 0)
	for i := range maxUsed {
		u.Take(fmt.Sprint("old", i), at)
	}
	if err := u.Write(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(w.uses) != maxUsed || w.commits != maxUsed/maxWritten {
		t.Errorf("the uses of %d keys are written in %d commits", len(w.uses), w.commits)
	}
	for i := range 3 * maxUsed {
		if !u.Take(fmt.Sprint("new", i), at.Add(time.Minute)) {
			t.Fatalf("key %d may not be used", i)
		}
		if len(u.keys) > maxUsed {
			t.Fatalf("there are %d keys", len(u.keys))
		}
	}
}

// Requests come at once, and each counts once.
func TestConcurrentUses(t *testing.T) {
	w := &written{uses: map[string]int64{}}
	u := NewUses(1e6, idOf, w.write)
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range 1000 {
				u.Take(fmt.Sprint(i%7), time.Unix(int64(6000+70*i+g), 0))
			}
		})
	}
	all.Wait()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		if err := u.Write(t.Context()); err != nil {
			t.Fatal(err)
		}
		sum := int64(0)
		w.mu.Lock()
		for _, n := range w.uses {
			sum += n
		}
		w.mu.Unlock()
		if sum == 8000 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d uses were counted", sum)
		}
	}
}
