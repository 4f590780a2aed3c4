package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// chaosBolt is a gate with a database.
type chaosBolt struct {
	node     *server
	database string       // as the gate sees it
	file     string       // as the tests see it
	disk     *privateDisk // nil where none could be mounted
}

func (b *chaosBolt) faults() []*chaosFault {
	return []*chaosFault{
		{name: "an empty database file", provoke: func(r *chaosRound) {
			b.refused(r, b.file, nil, "the file is empty")
		}},
		{name: "a database without its secret", provoke: func(r *chaosRound) {
			b.refused(r, b.file+".secret", nil, "secret")
		}},
		{name: "a damaged database", provoke: func(r *chaosRound) {
			b.refused(r, b.file, []byte(strings.Repeat("this is not a database\n", 1000)), "is not a database or is damaged")
		}},
		{name: "the database is compacted", provoke: func(r *chaosRound) {
			for range 3 {
				if status, text := b.node.call(http.MethodPost, "/store/compact", "{}"); status != http.StatusOK {
					r.violation("the compaction is answered %d %s", status, text)
				}
			}
		}},
		b.restored(),
		{name: "the database is moved away", provoke: func(r *chaosRound) {
			if err := os.Rename(b.file, b.file+".away"); err != nil {
				r.Fatal(err)
			}
			r.waitFor("store_file_replaced is shown", func() bool { return b.node.hasCondition("store_file_replaced") })
			if err := os.Rename(b.file+".away", b.file); err != nil {
				r.Fatal(err)
			}
		}},
	}
}

// refused kills the gate and replaces a file. The next start is refused with a reason, and
// changes nothing; with the file as it was the gate starts.
func (b *chaosBolt) refused(r *chaosRound, file string, content []byte, reason string) {
	r.Helper()
	b.node.kill()
	if err := os.Rename(file, file+".kept"); err != nil {
		r.Fatal(err)
	}
	if err := os.WriteFile(file, content, 0o600); err != nil {
		r.Fatal(err)
	}
	b.node.fails(filepath.Base(b.database), reason)
	if left, err := os.ReadFile(file); err != nil || string(left) != string(content) {
		r.violation("the start that was refused changed %s: %v", file, err)
	}
	if err := os.Rename(file+".kept", file); err != nil {
		r.Fatal(err)
	}
	b.node.start()
}

// fullDisk fills the disk of the database, until a change is refused.
func (b *chaosBolt) fullDisk() *chaosFault {
	return &chaosFault{name: "full disk", provoke: func(r *chaosRound) {
		free, err := b.disk.fill()
		if err != nil {
			r.Fatal(err)
		}
		defer free()
		r.full(b.node)
		r.waitFor("writes_failing is shown", func() bool { return b.node.hasCondition("writes_failing") })
		r.hold()
	}}
}

// fullDiskRemovals removes grants and revokes links while the disk is full to the last block:
// the reserve has the room, until it is used up, and is made again when there is space.
func (b *chaosBolt) fullDiskRemovals() *chaosFault {
	return &chaosFault{name: "removals on a full disk", provoke: func(r *chaosRound) {
		reserve := func() int64 {
			info, err := os.Stat(b.file + ".reserve")
			if err != nil {
				return -1
			}
			return info.Size()
		}
		r.waitFor("there is a reserve", func() bool { return reserve() > 0 })
		var records []*chaosRecord
		for len(records) < removalsOfAFullDisk {
			records = append(records, r.created(b.node, len(records)%2 == 0))
		}
		free, err := b.disk.fill()
		if err != nil {
			r.Fatal(err)
		}
		defer free()
		r.full(b.node)
		taken := 0
		for _, record := range records {
			before := reserve()
			if !r.ledger.remove(b.node, record) {
				if before > 0 {
					r.violation("%s cannot be removed on a full disk, and there is a reserve", record.path)
				}
				r.violation("%s is the %d. that is removed: the reserve is not enough", record.path, taken)
				break
			}
			taken++
		}
		if reserve() != 0 {
			r.violation("%d removals did not need the reserve: the disk is not full", taken)
		}
		r.full(b.node) // what was given up is for removals only
		r.waitFor("disk_full is shown", func() bool { return b.node.hasCondition("disk_full") })
		free()
		r.waitFor("there is a reserve again", func() bool { return reserve() > 0 })
	}}
}

// removalsOfAFullDisk are so many that the file has to grow for them.
const removalsOfAFullDisk = 150

// readOnly makes the file of the database immutable: each write to it fails, as on a disk
// that the system made read-only.
func (b *chaosBolt) readOnly() *chaosFault {
	return &chaosFault{name: "read-only file", provoke: func(r *chaosRound) {
		chattr := func(flag string) {
			if out, err := exec.Command("chattr", flag, b.file).CombinedOutput(); err != nil {
				r.Fatalf("chattr %s: %v %s", flag, err, out)
			}
		}
		chattr("+i")
		defer chattr("-i")
		r.waitFor("a change is refused", func() bool {
			record, _ := r.ledger.create(b.node, true, r.newUser())
			return record == nil
		})
		r.waitFor("writes_failing is shown", func() bool { return b.node.hasCondition("writes_failing") })
		r.hold()
	}}
}
