package nodestate

import (
	"fmt"
	"sync"

	"github.com/dustin/go-humanize"

	"github.com/gatefold/gatefold/admin/condition"
)

// The shares of a disk, in percent, from which it is filling, and full.
const (
	diskFillingAt = 80
	diskFullAt    = 95
)

// DiskSpace is the room on the disk of an embedded database.
type DiskSpace struct {
	// Total is the size of the disk and Available what is left of it, in bytes. A size of
	// zero is unknown.
	Total, Available uint64
	// ReserveGivenUp reports whether what is kept for removals and revocations is in use.
	ReserveGivenUp bool
}

// Disk knows how full the disk of an embedded database is. It is safe for concurrent use.
type Disk struct {
	mu    sync.Mutex
	space DiskSpace
}

// Seen records the room on the disk.
func (d *Disk) Seen(space DiskSpace) {
	d.mu.Lock()
	defer d.mu.Unlock()
	space.Available = min(space.Available, space.Total)
	d.space = space
}

// Used returns how much of the disk is used, from 0 to 1. It reports whether that is known.
func (d *Disk) Used() (share float64, known bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.space.Total == 0 {
		return 0, false
	}
	return float64(d.space.Total-d.space.Available) / float64(d.space.Total), true
}

func (d *Disk) findings() []condition.Finding {
	used, known := d.Used()
	d.mu.Lock()
	defer d.mu.Unlock()
	kind, what := diskFilling, "How full the disk of the database is, is not known."
	if known {
		what = fmt.Sprintf("The disk of the database is %.0f %% full: %s of %s are left.", used*100, humanize.IBytes(d.space.Available), humanize.IBytes(d.space.Total))
	}
	if d.space.ReserveGivenUp {
		what += " What was kept for removals and revocations is given up to them: all other writes are refused until the disk has room again."
	}
	switch percent := used * 100; {
	case d.space.ReserveGivenUp || percent >= diskFullAt:
		kind = diskFull
	case !known || percent < diskFillingAt:
		return nil
	}
	return []condition.Finding{{Kind: kind, What: what}}
}
