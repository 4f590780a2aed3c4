package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// OptionStoreLoss is the name of the rule option for what readers get once the store has
// been unreachable for a while.
const OptionStoreLoss = "on_store_loss"

// What a rule answers once the store was lost for StoreLoss.After.
const (
	// LossDeny denies: store_unavailable.
	LossDeny = "deny"
	// LossTeaser denies as well, and the reader gets the teaser of the rule.
	LossTeaser = "teaser"
	// LossPublic opens the page to all readers, for GET and HEAD.
	LossPublic = "public"
)

// Bounds of StoreLoss.After. A shared store counts as unreachable after the least.
const (
	minLossAfter = 2 * time.Second
	maxLossAfter = 24 * time.Hour
)

func init() {
	RegisterRuleOption(RuleOption{Name: OptionStoreLoss, Compile: compileStoreLoss})
}

// StoreLoss is the rule option on_store_loss. After is capped by what Options.Fresh allows.
type StoreLoss struct {
	// After is how long caches decide after the node last had every change of the store.
	After time.Duration
	// Then is LossDeny, LossTeaser or LossPublic.
	Then string
}

// NewStoreLoss returns the option with its answer, deny if it is empty. It returns an error
// if the time is out of bounds or the answer is unknown.
func NewStoreLoss(after time.Duration, then string) (*StoreLoss, error) {
	switch then {
	case "":
		then = LossDeny
	case LossDeny, LossTeaser, LossPublic:
	default:
		return nil, fmt.Errorf("%q is no answer: write %s, %s or %s", then, LossDeny, LossTeaser, LossPublic)
	}
	if after < minLossAfter || after > maxLossAfter {
		return nil, errors.New(`the time must be a duration from 2s to 24h, such as "10s"`)
	}
	return &StoreLoss{After: after, Then: then}, nil
}

func compileStoreLoss(value json.RawMessage) (any, error) {
	loss, err := ParseStoreLoss(value)
	if err != nil {
		return nil, err // no nil pointer as a value
	}
	return loss, nil
}

// ParseStoreLoss parses the stored form of the option.
func ParseStoreLoss(value json.RawMessage) (*StoreLoss, error) {
	var stored struct {
		After string `json:"after"`
		Then  string `json:"then"`
	}
	decoder := json.NewDecoder(bytes.NewReader(value))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&stored); err != nil {
		return nil, errors.New(`it must be an object such as {"after": "10s", "then": "deny"}`)
	}
	after, err := time.ParseDuration(stored.After)
	if err != nil {
		return nil, errors.New(`after must be a duration from 2s to 24h, such as "10s"`)
	}
	return NewStoreLoss(after, stored.Then)
}

// checkStoreLoss refuses an answer that the rule cannot give.
func (s *compiledSteps) checkStoreLoss(rule *Rule) error {
	loss := s.options.loss
	switch {
	case loss == nil:
		return nil
	case loss.Then == LossTeaser && s.options.values["teaser"] == nil:
		return fmt.Errorf("%s: the rule has no teaser: add the option teaser, or answer %s", OptionStoreLoss, LossDeny)
	case loss.Then != LossPublic:
		return nil
	case !rule.Forward:
		return fmt.Errorf("%s: %s is for pages of the origin, and the rule is answered by the site itself", OptionStoreLoss, LossPublic)
	case s.linkTest == nil:
		return fmt.Errorf("%s: %s is for content: no step of the rule is `entitled`", OptionStoreLoss, LossPublic)
	}
	return nil
}

// lossOf returns the option of the rules that the path matches: the shortest time and the
// strictest answer of all, nil if none has one.
func (r *Request) lossOf() *StoreLoss {
	if len(r.matches) == 0 {
		return nil
	}
	strictest := r.matches[0].rule.lossAt(r.Site)
	for i := 1; i < len(r.matches); i++ {
		strictest = strictest.join(r.matches[i].rule.lossAt(r.Site))
	}
	return strictest
}

// lossAt returns the option of a rule, or that of the site.
func (r *compiledRule) lossAt(site *Site) *StoreLoss {
	if r != nil && r.options != nil && r.options.loss != nil {
		return r.options.loss
	}
	return site.StoreLoss
}

// join returns the stricter of two options in each part. One that is nil denies, at a time
// of its own.
func (l *StoreLoss) join(other *StoreLoss) *StoreLoss {
	switch {
	case l == other:
		return l
	case l == nil:
		return &StoreLoss{After: other.After, Then: LossDeny}
	case other == nil:
		return &StoreLoss{After: l.After, Then: LossDeny}
	}
	joined := StoreLoss{After: min(l.After, other.After), Then: l.Then}
	if l.Then == LossDeny || other.Then == LossDeny {
		joined.Then = LossDeny
	} else if other.Then == LossTeaser {
		joined.Then = LossTeaser
	}
	return &joined
}

// lossError is the error of a decision after the time of StoreLoss. It matches ErrStale.
type lossError struct{ after time.Duration }

func (e *lossError) Error() string {
	return fmt.Sprintf("the store has been unreachable for longer than %s of the rule allows, %v", OptionStoreLoss, e.after)
}
func (e *lossError) Is(target error) bool { return target == ErrStale }

// decideStale replaces the decision of a request if the caches are too old for it. What
// the rules answer then does not depend on the reader or on a link, and uses none.
func (p *Policy) decideStale(r *Request, decision *Decision) {
	loss, err := r.lossOf(), p.Fresh(r.Site.Vendor, r.Now)
	switch {
	case err == nil && (loss == nil || p.silence == nil || p.silence(r.Site.Vendor, r.Now) < loss.After):
		return
	case err == nil:
		err = &lossError{loss.After}
	case !errors.Is(err, ErrStale) && !errors.Is(err, ErrUnavailable):
		loss = nil // not a store that is unreachable
	}
	stale := Decision{Reason: ReasonStoreUnavailable, Err: err, Until: r.Now.UnixMilli()}
	if loss != nil {
		stale.Loss, stale.Rule, stale.rule, stale.segments, stale.Rewritten = loss, decision.Rule, decision.rule, decision.segments, decision.Rewritten
		if loss.Then == LossPublic && r.method == http.MethodGet && stale.Rule != nil {
			stale.Reason, stale.Err = ReasonPublic, nil
		}
	}
	*decision = stale
}
