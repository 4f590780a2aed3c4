package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"github.com/gatefold/gatefold/policy/store"
)

// chaosRecords are the grants and links that the API of a gate shows, as JSON by their ids.
type chaosRecords struct {
	grants, links map[string]map[string]any
}

func (s *server) records() chaosRecords {
	s.t.Helper()
	list := func(what, id string) map[string]map[string]any {
		var shown []map[string]any
		decode(s.t, s.must(what, "list", "--json"), &shown)
		byID := make(map[string]map[string]any, len(shown))
		for _, one := range shown {
			byID[one[id].(string)] = one
		}
		return byID
	}
	return chaosRecords{list("grant", "id"), list("link", "tokenId")}
}

// restored backs the database up, and puts the backup in its place after more writes. The dry
// run changes nothing. What it and the restore name is different afterwards, and nothing else.
func (b *chaosBolt) restored() *chaosFault {
	return &chaosFault{name: "an older backup is restored", provoke: func(r *chaosRound) {
		backup := filepath.Join(b.node.dir, "chaos.backup")
		address, _ := b.node.countedLink(50)
		grant, link := r.created(b.node, true), r.created(b.node, false)
		b.node.must("store", "backup", backup, "--force")
		r.created(b.node, true)
		r.created(b.node, false)
		for _, record := range []*chaosRecord{grant, link} {
			r.waitFor("what is in the backup is removed", func() bool { return r.ledger.remove(b.node, record) })
		}
		r.waitFor("a link of the backup is used", func() bool { return statusOf(b.node.site+address) == http.StatusOK })
		r.waitForWrites(10)
		r.end() // what is acknowledged from here on would not be in the comparison

		before := b.node.records()
		b.node.stop()
		dry := b.restore(r, backup, "--dry-run")
		b.node.start()
		if now := b.node.records(); !reflect.DeepEqual(now, before) {
			r.violation("the dry run of a restore changed something")
		}
		b.node.stop()
		done := b.restore(r, backup, "--yes")
		b.node.start()
		if !reflect.DeepEqual(dry, done) {
			r.violation("the dry run names %+v, and the restore %+v", dry, done)
		}
		found := r.compare(before, b.node.records())
		if want := []store.Difference{found}; !reflect.DeepEqual(done, want) {
			r.violation("the restore names %+v, and what differs is %+v", done, want)
		}
	}}
}

// created makes a grant or a link that only the fault removes.
func (r *chaosRound) created(node *server, grant bool) (record *chaosRecord) {
	r.Helper()
	r.waitFor("a record is made", func() bool {
		record, _ = r.ledger.createHeld(node, grant, r.newUser())
		return record != nil
	})
	return record
}

// restore runs the command where the gate sees its database, and returns what it names.
func (b *chaosBolt) restore(r *chaosRound, backup, flag string) []store.Difference {
	r.Helper()
	words := append(slices.Clone(b.node.prefix), binary, "store", "restore", backup, "--database", b.database, "--json", flag)
	got := runProgram(r.T, words[0], b.node.dir, b.node.environment(), words[1:]...)
	var answer struct {
		Kept        string
		Differences []store.Difference
	}
	if err := json.Unmarshal([]byte(got.stdout), &answer); got.code != 0 || err != nil {
		r.Fatalf("store restore %s: %d %s %s", flag, got.code, got.stdout, got.stderr)
	}
	if answer.Kept != "" { // the disk is a small one
		if err := os.Remove(filepath.Join(filepath.Dir(b.file), filepath.Base(answer.Kept))); err != nil {
			r.Fatal(err)
		}
	}
	return answer.Differences
}

// compare returns what differs, and notes which records of the ledger that are.
func (r *chaosRound) compare(before, after chaosRecords) store.Difference {
	found := store.Difference{Partition: "default"}
	grants, links := store.KindDifference{Kind: "grant"}, store.KindDifference{Kind: "signed-link"}
	r.named = map[string]bool{}
	of := func(path string, kind *store.KindDifference, was, is map[string]map[string]any, also func(was, is map[string]any)) {
		for id, one := range was {
			also(one, is[id])
			switch now := is[id]; {
			case now == nil:
				kind.Lost++
				r.named[path+"/"+id] = true
			case !reflect.DeepEqual(recordOf(one), recordOf(now)):
				kind.Changed++
			}
		}
		for id := range is {
			if was[id] == nil {
				kind.Back++
				r.named[path+"/"+id] = true
			}
		}
	}
	of(chaosGrants, &grants, before.grants, after.grants, func(_, _ map[string]any) {})
	of(chaosLinks, &links, before.links, after.links, func(was, is map[string]any) {
		if was["status"] == "revoked" && is["status"] != "revoked" {
			found.Reopened++
			r.named[chaosLinks+"/"+was["tokenId"].(string)] = true
		}
		uses, left := was["uses"].(float64), 0.0
		if is != nil {
			left = is["uses"].(float64)
		}
		if left < uses {
			found.Links++
			found.Uses += int64(uses - left)
		}
	})
	for _, kind := range []store.KindDifference{grants, links} {
		if kind.Back+kind.Lost+kind.Changed > 0 {
			found.Kinds = append(found.Kinds, kind)
		}
	}
	return found
}

// recordOf returns what the API shows of a record itself, without its uses and revocation.
func recordOf(shown map[string]any) map[string]any {
	record := map[string]any{}
	for name, value := range shown {
		if !slices.Contains([]string{"uses", "devices", "status", "revokedAt", "revokedFor"}, name) || shown["tokenId"] == nil {
			record[name] = value
		}
	}
	return record
}
