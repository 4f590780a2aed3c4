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

// Disk knows how full the disk of an embedded database is. It is safe for concurrent use.
type Disk struct {
	mu               sync.Mutex
	total, available uint64
}

// Seen records the size of the disk and what is available of it, in bytes; a size of zero
// is unknown.
func (d *Disk) Seen(total, available uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.total, d.available = total, min(available, total)
}

// Used returns how much of the disk is used, from 0 to 1. It reports whether that is known.
func (d *Disk) Used() (share float64, known bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.total == 0 {
		return 0, false
	}
	return float64(d.total-d.available) / float64(d.total), true
}

func (d *Disk) findings() []condition.Finding {
	used, known := d.Used()
	kind := diskFilling
	switch percent := used * 100; {
	case !known || percent < diskFillingAt:
		return nil
	case percent >= diskFullAt:
		kind = diskFull
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return []condition.Finding{{
		Kind: kind,
		What: fmt.Sprintf("The disk of the database is %.0f %% full: %s of %s are left.", used*100, humanize.IBytes(d.available), humanize.IBytes(d.total)),
	}}
}
