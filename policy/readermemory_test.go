package policy

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/memory"
)

// cacheReader caches a reader as after the verification of a token and the first read
// of the grants.
func (p *Policy) cacheReader(verifier *ReaderVerifier, token string, reader *Reader, vendor string, granted *Entitlements) {
	key := p.appendTokenKey(nil, verifier, token)
	value, _ := appendReaderRecord(nil, reader, nil)
	record := p.readers.Set(key, value, p.versions.Shared(), never)
	value, _ = appendReaderRecord(nil, reader, &storedRecords{vendor: vendor, packed: granted.text, stamp: p.versions.Reader(vendor, reader)})
	p.readers.Replace(record, value)
}

var premium = NewEntitlements([]Grant{{ID: "grant_01m8452fr017b5yjsdtmx64dnr", SKU: "premium", Active: true}})

// docs/performance.md states the memory of a reader. The records contain no pointers
// for the garbage collector to follow.
func TestMemoryOfAReader(t *testing.T) {
	const readers = 50_000
	p := &Policy{versions: new(Versions), readers: memory.NewRecordCache(64 << 20)}
	var err error
	p.fingerprints, err = memory.NewFingerprinter()
	must(t, err)
	verifier := NewReaderVerifier("verifier", keys.ReaderIssuer{}, nil)
	heap := func() int64 {
		var stats runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&stats)
		return int64(stats.HeapAlloc) //nolint:gosec // far less than that
	}
	before := heap()
	for i := range readers {
		reader := Reader{UserID: fmt.Sprintf("reader-%07d", i), Email: fmt.Sprintf("reader-%07d@reader.example", i)}
		p.cacheReader(&verifier, fmt.Sprintf("token of reader %d", i), &reader, "default", premium)
	}
	each := (heap() - before) / readers
	counted := p.readers.Bytes() / readers
	if each > 400 || counted < each*9/10 {
		t.Errorf("a reader takes %d bytes, of which %d are counted", each, counted)
	}
	runtime.KeepAlive(p)
}
