package store_test

import (
	"bytes"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// refused is an entry of a reader who was refused.
func (b *fixture) refused(reason, country, agent string) store.LinkEvent {
	return store.LinkEvent{
		Kind: store.LinkRefused, Reason: reason, Visitor: policy.Visitor{Country: country, Agent: agent}, Since: b.clock, At: b.clock, Count: 1,
	}
}

func (b *fixture) record(link store.SignedLink, events ...store.LinkEvent) {
	b.Helper()
	b.ok(b.RecordLinkEvents(b.Context(), vendor, link.Claims.Issuer, link.Claims.ID, events))
}

// history returns the whole history of a link, read in pages.
func (b *fixture) history(link store.SignedLink, limit int) (all []store.LinkEvent) {
	b.Helper()
	page := store.Page{Limit: limit}
	for {
		found, err := b.LinkEvents(b.Context(), vendor, link.Claims.Issuer, link.Claims.ID, page)
		b.ok(err)
		all = append(all, found...)
		if len(found) < limit {
			return all
		}
		page.From = found[len(found)-1].ID
	}
}

// entriesOf returns the stored entries whose keys have a link's id.
func (b *fixture) entriesOf(id string) (found []engine.Put) {
	b.Helper()
	var after []byte
	for {
		page, err := b.engine.Dump(b.Context(), vendor, after, 500)
		b.ok(err)
		if len(page) == 0 {
			return found
		}
		for _, entry := range page {
			if bytes.Contains(entry.Key, []byte(id)) {
				found = append(found, entry)
			}
		}
		after = page[len(page)-1].Key
	}
}

// The history has uses with country and class, and uses that an earlier version
// counted, whose records have their time only. A page of any size continues where the one
// before ended.
func TestHistoryInPages(t *testing.T) {
	b := newFixture(t)
	link := b.link(keys.LinkClaims{SKU: "s", MaxUses: 10})
	issuer, id := link.Claims.Issuer, link.Claims.ID
	b.ok(b.Redeem(t.Context(), vendor, policy.Redemption{
		Issuer: issuer, LinkID: id, ID: "a", MaxUses: 10, At: b.clock, ExpiresAt: b.clock.Add(time.Hour),
		Visitor: policy.Visitor{Country: "SE", Agent: "browser"},
	}))
	b.ok(b.redeem(link, "b")) // as an earlier version wrote it
	for i := range 5 {
		b.clock = b.clock.Add(time.Minute)
		b.record(link, b.refused("link_used_up", "", strconv.Itoa(i)))
	}
	for limit := 1; limit < 9; limit++ {
		text := ""
		for _, e := range b.history(link, limit) {
			text += fmt.Sprint(e.Kind, e.Reason, e.Country, e.Agent, e.Count, " ")
		}
		want := "refusedlink_used_up41 refusedlink_used_up31 refusedlink_used_up21 refusedlink_used_up11 refusedlink_used_up01 confirmedSEbrowser1 confirmed1 "
		if text != want {
			t.Errorf("in pages of %d the history is %s", limit, text)
		}
	}
	_, err := b.LinkEvents(t.Context(), vendor, issuer, "link_none", store.Page{})
	b.is(err, store.ErrNotFound)
	b.is(b.RecordLinkEvents(t.Context(), vendor, issuer, "link_none", []store.LinkEvent{b.refused("link_revoked", "", "bot")}), store.ErrNotFound)
	// Uses are found by their ids as before.
	uses, err := b.Uses(t.Context(), vendor, issuer, id, []string{"a", "b", "c"}, "")
	if err != nil || uses.Count != 2 || uses.IDs[0].At.IsZero() || uses.IDs[1].At.IsZero() || !uses.IDs[2].At.IsZero() {
		t.Errorf("%+v, %v", uses, err)
	}
}

// A stranger with a used up link asks for its page all day, from programs of all kinds.
// The record is bounded, no refusal is left uncounted, and what the first reader met stays
// legible.
func TestFloodOfRefusalsIsBounded(t *testing.T) {
	b := newFixture(t)
	link := b.link(keys.LinkClaims{SKU: "s", MaxUses: 1})
	first := b.clock
	b.record(link, b.refused("link_used_up", "SE", "browser"))
	const minutes, agents = 120, 9
	for range minutes {
		b.clock = b.clock.Add(time.Minute)
		var events []store.LinkEvent
		for agent := range agents {
			event := b.refused("link_used_up", "ZZ", strconv.Itoa(agent))
			event.Count = 1000
			events = append(events, event)
		}
		b.record(link, events...)
	}
	var total int64
	history := b.history(link, 1000)
	for _, e := range history {
		total += e.Count
	}
	reader := history[len(history)-1]
	if len(history) > store.MaxLinkEvents || total != 1+minutes*agents*1000 {
		t.Errorf("%d entries count %d refusals", len(history), total)
	}
	if reader.Country != "SE" || reader.Count != 1 || !reader.At.Equal(first) {
		t.Errorf("the reader's entry is %+v", reader)
	}
	for _, entry := range b.entriesOf(link.Claims.ID) {
		if len(entry.Value) > 16<<10 {
			t.Errorf("a record of %d bytes", len(entry.Value))
		}
	}
	// Even with entries of which no two are alike.
	for i := range 2 * store.MaxLinkEvents {
		b.record(link, b.refused(strconv.Itoa(i), "ZZ", "browser"))
	}
	if n := len(b.history(link, 1000)); n != store.MaxLinkEvents {
		t.Errorf("%d entries", n)
	}
}

// Several nodes write the history of one link at a time: none of their counts is lost.
func TestHistoryOfSeveralNodes(t *testing.T) {
	b := newFixture(t)
	link := b.link(keys.LinkClaims{SKU: "s", MaxUses: 1})
	var nodes sync.WaitGroup
	for range 4 {
		nodes.Go(func() {
			for range 10 {
				for b.RecordLinkEvents(t.Context(), vendor, link.Claims.Issuer, link.Claims.ID, []store.LinkEvent{b.refused("link_used_up", "", "bot")}) != nil {
				}
			}
		})
	}
	nodes.Wait()
	if history := b.history(link, 1000); len(history) != 1 || history[0].Count != 40 {
		t.Errorf("the history is %+v", history)
	}
}

// A use that is taken back is in the history, once, with the client who had it. One that
// was not counted is not.
func TestRefundIsInTheHistory(t *testing.T) {
	b := newFixture(t)
	link := b.link(keys.LinkClaims{SKU: "s", MaxUses: 1})
	use := policy.Redemption{
		Issuer: link.Claims.Issuer, LinkID: link.Claims.ID, ID: "a", MaxUses: 1, At: b.clock, ExpiresAt: time.Unix(link.Claims.ExpiresAt, 0),
		Visitor: policy.Visitor{Country: "SE", Agent: "browser"},
	}
	b.ok(b.Refund(t.Context(), vendor, use))
	if history := b.history(link, 10); len(history) != 0 {
		t.Errorf("a use that was not counted is %+v", history)
	}
	b.ok(b.Redeem(t.Context(), vendor, use))
	for range 2 {
		b.ok(b.Refund(t.Context(), vendor, use))
	}
	history := b.history(link, 10)
	if len(history) != 1 || history[0].Kind != store.LinkRefunded || history[0].Reason != store.RefundNotDelivered || history[0].Country != "SE" || history[0].Count != 1 {
		t.Errorf("the history is %+v", history)
	}
	if link, err := b.SignedLink(t.Context(), vendor, use.Issuer, use.LinkID); err != nil || link.Uses != 0 {
		t.Errorf("%d uses, %v", link.Uses, err)
	}
}

// When a link's retention is over, nothing of it is left: neither uses, nor history, nor
// networks.
func TestHistoryIsErasedWithTheLink(t *testing.T) {
	b := newFixture(t)
	link := b.link(keys.LinkClaims{SKU: "s", Subject: "u", MaxUses: 2})
	b.ok(b.redeem(link, "a"))
	b.record(link, b.refused("link_used_up", "SE", "browser"))
	_, err := b.CountNetworks(t.Context(), vendor, link.Claims.Issuer, link.Claims.ID, []uint64{1}, store.NetworkLimit{Networks: 3})
	b.ok(err)
	if n := len(b.entriesOf(link.Claims.ID)); n != 5 { // the link, its counter, use, history and networks
		t.Fatalf("%d records", n)
	}
	b.ok(b.BuildIndexes(t.Context())) // its entry in the index
	b.clock = b.clock.Add(store.LeakWindow + time.Second)
	_, err = b.Sweep(t.Context())
	b.ok(err)
	if n := len(b.entriesOf(link.Claims.ID)); n != 5 {
		t.Errorf("after an hour %d records", n)
	}
	b.clock = time.Unix(link.Claims.ExpiresAt, 0).Add(store.Retention + time.Second)
	_, err = b.Sweep(t.Context())
	b.ok(err)
	if left := b.entriesOf(link.Claims.ID); len(left) != 0 {
		t.Errorf("left are %q", left)
	}
}

// The probe that finds out whether writes work again changes no record.
func TestProbeLeavesTheContentSpace(t *testing.T) {
	b := newFixture(t)
	b.ok(b.DeclareDefaultSpace(t.Context(), vendor, "news"))
	b.ok(b.Probe(t.Context(), vendor))
	if space, err := b.DefaultSpace(t.Context(), vendor); err != nil || space != "news" {
		t.Errorf("the content space is %q, %v", space, err)
	}
}
