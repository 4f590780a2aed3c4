package supportcode

import (
	"encoding/binary"
	"hash/maphash"
	"time"
)

const (
	// reusedFor is how long one refusal has one code, so that a reload is not kept again.
	reusedFor = time.Minute
	// recentCodes is the number of refusals whose codes a node knows: 256 KiB.
	recentCodes = 1 << 13
	// subjects is the number of readers and links whose refusals a node counts: 128 KiB. Those
	// that share a place share its count.
	subjects = 1 << 14
	// MaxPerSubject bounds the refusals that a node keeps in an hour of one reader or of one
	// link, so that one account cannot use up what is kept of all.
	MaxPerSubject = 30
)

// Subject says of what a refusal is. Two with one Subject within a minute have one code.
type Subject struct {
	Vendor, Site string
	// UserID is the reader; empty for an anonymous one. Link is that of a link whose
	// signature was verified.
	UserID, Link string
	// Page is the method, the host and what was asked for, and Reason why it was refused.
	Method, Host, Target, Reason string
	// Detail distinguishes what else the explanation depends on, such as the error of a
	// credential.
	Detail string
}

// Anonymous reports whether neither a reader nor a link is known.
func (s *Subject) Anonymous() bool { return s.UserID == "" && s.Link == "" }

// recent remembers codes and counts. It is not safe for concurrent use.
type recent struct {
	seed  maphash.Seed
	codes [recentCodes]struct {
		sum  uint64
		at   int64 // Unix milliseconds
		code [Size]byte
	}
	hour   int64 // since 1970
	counts [subjects]uint8
}

func (r *recent) init() { r.seed = maphash.MakeSeed() }

func sumOf(seed maphash.Seed, texts ...string) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	var size [8]byte
	for _, text := range texts {
		binary.LittleEndian.PutUint64(size[:], uint64(len(text)))
		_, _ = h.Write(size[:])
		_, _ = h.WriteString(text)
	}
	return h.Sum64()
}

func (r *recent) sum(s *Subject) uint64 {
	return sumOf(r.seed, s.Vendor, s.Site, s.UserID, s.Link, s.Method, s.Host, s.Target, s.Reason, s.Detail)
}

// get returns the code that a refusal got within the last minute, or "".
func (r *recent) get(sum uint64, at time.Time) string {
	slot := &r.codes[sum%recentCodes]
	if age := at.UnixMilli() - slot.at; slot.sum != sum || age < 0 || age >= reusedFor.Milliseconds() {
		return ""
	}
	return string(slot.code[:])
}

func (r *recent) put(sum uint64, at time.Time, code string) {
	slot := &r.codes[sum%recentCodes]
	slot.sum, slot.at = sum, at.UnixMilli()
	copy(slot.code[:], code)
}

// count counts a refusal of a reader or a link. It reports false for one too many.
func (r *recent) count(s *Subject, at time.Time) bool {
	if s.Anonymous() {
		return true
	}
	if hour := at.Unix() / int64(time.Hour/time.Second); hour != r.hour {
		r.hour = hour
		clear(r.counts[:])
	}
	counted := &r.counts[sumOf(r.seed, s.Vendor, s.UserID, s.Link)%subjects]
	if *counted >= MaxPerSubject {
		return false
	}
	*counted++
	return true
}
