package openstore

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// closingEngine calls a function when it is closed.
type closingEngine struct {
	engine.Engine
	closing func() error
}

func (e *closingEngine) Close() error { return e.closing() }

// A store is closed, as by a reload with another store, while its follower applies a
// change of another node and reads the changed records: the read fails, and nothing
// waits forever.
func TestClosingTheStoreLetsItsFollowerEnd(t *testing.T) {
	lazy := new(lazyEngine)
	lazy.make = func() (engine.Engine, error) {
		return &closingEngine{closing: func() error {
			read := make(chan error, 1)
			go func() {
				read <- lazy.View(context.Background(), "default", func(engine.Snapshot) error { return nil })
			}()
			select {
			case err := <-read:
				return err
			case <-time.After(10 * time.Second):
				return errors.New("the read waits for the end of Close")
			}
		}}, nil
	}
	if _, err := lazy.Open(); err != nil {
		t.Fatal(err)
	}
	if err := lazy.Close(); !errors.Is(err, engine.ErrClosed) {
		t.Errorf("a read during Close returns %v", err)
	}
}
