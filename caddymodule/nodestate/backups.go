package nodestate

import (
	"fmt"
	"time"

	"github.com/gatefold/gatefold/admin/condition"
)

// Backups is the state of the backups that the server makes.
type Backups struct {
	Directory string
	// Every is the interval between two backups.
	Every time.Duration
	// Since is when the server began to make them, Newest when the newest was begun; zero
	// for none.
	Since, Newest time.Time
	// Failed is the error of the last attempt.
	Failed error
}

// backups finds a newest backup that is older than two intervals: one that fails once, or
// that takes long, is none.
func (n *Node) backups() []condition.Finding {
	if n.options.Backups == nil {
		return nil
	}
	state := n.options.Backups()
	if state == nil {
		return nil
	}
	last, what := state.Newest, "The newest backup in "+state.Directory+" is of "+state.Newest.UTC().Format(time.RFC3339)
	if last.IsZero() {
		last, what = state.Since, "There is no backup in "+state.Directory
	}
	if age := n.options.Now().Sub(last); age < 2*state.Every {
		return nil
	}
	what += fmt.Sprintf(", and one is due every %v", state.Every)
	if state.Failed != nil {
		what += ": " + state.Failed.Error()
	}
	return []condition.Finding{{Kind: backupOld, Since: last.Add(2 * state.Every), What: what + "."}}
}
