package main

import (
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// chaosLink is a counted link with the history of what clients did with it while something
// was broken. Hundreds of these operations have no answer, or 503, which is too much for a
// search that tries each of them at each moment: see chaosModel.
type chaosLink struct {
	recordedLink
	// revocable: clients may revoke it.
	revocable bool
}

// chaosInput is an operation, and what others may have done by its end.
type chaosInput struct {
	op linkOp
	// open are the redemptions without a page or a denial that were sent before the end of
	// the operation. Each may be counted at that time, and be taken back later.
	open int
	// maybeRevoked: a revocation without an answer was sent before the end.
	maybeRevoked bool
}

// chaosState is a link after the operations with an answer.
type chaosState struct {
	pages   int
	revoked bool
}

// chaosModel is the sequential specification of a link with a maximum of uses, to which
// operations without an answer add what they may have added. It is exact where each was
// answered.
func chaosModel(maxUses int) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return chaosState{} },
		Step: func(state, input, output any) (bool, any) {
			s, in, answer := state.(chaosState), input.(chaosInput), output.(linkAnswer)
			switch {
			case in.op == opRevoke:
				return true, chaosState{s.pages, true}
			case in.op == opRead:
				known := answer.uses >= s.pages && answer.uses <= s.pages+in.open
				return known && (!s.revoked || answer.revoked) && (!answer.revoked || s.revoked || in.maybeRevoked), s
			case answer.code == "page":
				return !s.revoked && s.pages < maxUses, chaosState{s.pages + 1, s.revoked}
			case answer.code == "link_used_up":
				return !s.revoked && s.pages+in.open >= maxUses, s
			default:
				return answer.code == "link_revoked" && (s.revoked || in.maybeRevoked), s
			}
		},
	}
}

// answered returns the operations with an answer, for chaosModel. After the store lost
// writes, reads show fewer uses, and what was not there any more is no answer of the link. A
// former master answers reads until it is demoted, as it was before the failover.
func (l *chaosLink) answered(lost, failedOver bool) []porcupine.Operation {
	var history []porcupine.Operation
	var open, revocations []int64 // when they were sent
	for _, operation := range l.history {
		if answer := operation.Output.(linkAnswer); answer.unknown {
			if operation.Input.(linkInput).op == opRevoke {
				revocations = append(revocations, operation.Call)
			} else {
				open = append(open, operation.Call)
			}
		}
	}
	slices.Sort(open)
	for _, operation := range l.history {
		in, answer := operation.Input.(linkInput), operation.Output.(linkAnswer)
		if answer.unknown || (lost || failedOver) && in.op == opRead || lost && in.op == opRedeem && !slices.Contains([]string{"page", "link_used_up", "link_revoked"}, answer.code) {
			continue
		}
		before, _ := slices.BinarySearch(open, operation.Return)
		operation.Input = chaosInput{in.op, before, slices.ContainsFunc(revocations, func(at int64) bool { return at < operation.Return })}
		history = append(history, operation)
	}
	return history
}

// counts returns how many pages were delivered, how many requests may have been counted
// because they got no answer at all, and how many got an answer that says that they were not.
func (l *chaosLink) counts() (pages, unanswered, refused int) {
	for _, operation := range l.history {
		in, answer := operation.Input.(linkInput), operation.Output.(linkAnswer)
		switch {
		case in.op != opRedeem:
		case answer.code == "page":
			pages++
		case answer.unknown && answer.code == "":
			unanswered++
		case answer.unknown:
			refused++
		}
	}
	return pages, unanswered, refused
}

// linearizable reports whether the history is that of a link with a maximum.
func (l *chaosLink) linearizable(lost, failedOver bool) porcupine.CheckResult {
	result, _ := porcupine.CheckOperationsVerbose(chaosModel(l.maxUses), l.answered(lost, failedOver), time.Minute)
	return result
}

// The check finds a use too many, one that is lost, a denial that is none, and a page after
// the revocation, also beside requests that were not answered.
func TestChaosHistories(t *testing.T) {
	t.Parallel()
	page, refused, silent := linkAnswer{code: "page"}, linkAnswer{unknown: true, code: "store_unavailable"}, linkAnswer{unknown: true}
	usedUp, revoked := linkAnswer{code: "link_used_up"}, linkAnswer{code: "link_revoked"}
	redeem, read, revoke := linkInput{op: opRedeem}, linkInput{op: opRead}, linkInput{op: opRevoke}
	type exchange struct {
		input  linkInput
		answer linkAnswer
	}
	for name, test := range map[string]struct {
		answers []exchange
		right   bool
	}{
		"used up":             {[]exchange{{redeem, page}, {redeem, usedUp}, {read, linkAnswer{uses: 1}}}, true},
		"counted and refused": {[]exchange{{redeem, refused}, {read, linkAnswer{uses: 1}}, {redeem, page}, {read, linkAnswer{uses: 1}}}, true},
		"revoked in silence":  {[]exchange{{revoke, silent}, {redeem, revoked}, {read, linkAnswer{revoked: true}}}, true},
		"too many":            {[]exchange{{redeem, refused}, {redeem, page}, {redeem, page}}, false},
		"lost":                {[]exchange{{redeem, page}, {redeem, refused}, {read, linkAnswer{uses: 0}}}, false},
		"more than requested": {[]exchange{{redeem, page}, {redeem, silent}, {read, linkAnswer{uses: 3}}}, false},
		"page after":          {[]exchange{{revoke, linkAnswer{}}, {redeem, page}}, false},
		"revocation lost":     {[]exchange{{revoke, linkAnswer{}}, {read, linkAnswer{}}}, false},
		"revocation invented": {[]exchange{{redeem, revoked}}, false},
		"not used up":         {[]exchange{{redeem, usedUp}, {redeem, silent}}, false},
		"another denial":      {[]exchange{{redeem, linkAnswer{code: "link_expired"}}}, false},
	} {
		link := &chaosLink{recordedLink: recordedLink{maxUses: 1}}
		for i, one := range test.answers {
			operation := porcupine.Operation{ClientId: i, Input: one.input, Call: int64(10 * i), Output: one.answer, Return: int64(10*i + 5)}
			link.record(operation)
		}
		if got := link.linearizable(false, false) == porcupine.Ok; got != test.right {
			t.Errorf("%s: the check says %v", name, got)
		}
	}
}
