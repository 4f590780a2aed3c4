package admin

import (
	"bytes"
	"context"
	"io"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/policy"
)

// All rules of a site at once may be ten thousand. The library reads such a body
// into a tree of values, holds that against the schema, and reads the body again
// by reflection: twenty times the work of reading it once. So a body of the plain
// kind that programs write is read here, in one pass; of any other the library
// judges, and of what is wrong with it.

// plainRulesKey is where the context of a call has its rules, if they were read.
type plainRulesKey struct{}

// readPlainRules is a middleware that reads the rules of a body. The library gets
// an empty array in their place, or the body as it came.
func readPlainRules(ctx huma.Context, next func(huma.Context)) {
	reader := ctx.BodyReader()
	if reader == nil {
		next(ctx)
		return
	}
	_ = ctx.SetReadDeadline(time.Now().Add(rulesReadTimeout))
	var read bytes.Buffer
	if size, err := strconv.Atoi(ctx.Header("Content-Length")); err == nil && 0 < size && size <= maxRulesBody {
		read.Grow(size + bytes.MinRead) // ReadFrom wants that much more to see the end
	}
	_, err := io.Copy(&read, io.LimitReader(reader, maxRulesBody+1))
	given := &givenContext{humaContext: ctx, ctx: ctx.Context()}
	rules, plain := plainRules(read.Bytes())
	if err == nil && read.Len() <= maxRulesBody && plain {
		given.ctx, given.body = context.WithValue(given.ctx, plainRulesKey{}, rules), bytes.NewReader([]byte("[]"))
	} else {
		// What could not be read fails the library's reading too.
		given.body = io.MultiReader(bytes.NewReader(read.Bytes()), reader)
	}
	next(given)
}

// givenContext is a call with another body.
type givenContext struct {
	humaContext
	ctx  context.Context
	body io.Reader
}

func (g *givenContext) Context() context.Context { return g.ctx }
func (g *givenContext) BodyReader() io.Reader    { return g.body }

// rulesOf returns the rules of a call, read here or by the library.
func rulesOf(ctx context.Context, bodies []RuleBody) []RuleBody {
	if rules, ok := ctx.Value(plainRulesKey{}).([]RuleBody); ok {
		return rules
	}
	return bodies
}

// The members of a rule, as they are counted.
const (
	memberRank = iota
	memberPath
	memberMethods
	memberAllow
	memberForward
	memberEngaged
)

// The bounds that the schema of a rule has.
const (
	maxRankText    = 1_000_000
	maxPathText    = 1024
	maxMethodNames = 32
	maxTagsText    = 255
)

// plainRules reads the rules of a body; false where that is for the library, be it
// because they are wrong. They share the body's memory.
func plainRules(text []byte) ([]RuleBody, bool) {
	p := policy.NewPlainJSON(text)
	rules := make([]RuleBody, 0, min(bytes.Count(text, []byte(`"path"`)), maxPlainRules))
	for p.Open('['); p.More(']'); {
		var rule RuleBody
		if !readPlainRule(p, &rule) || len(rules) == maxPlainRules {
			return nil, false
		}
		rules = append(rules, rule)
	}
	p.End()
	return rules, !p.Failed()
}

// maxPlainRules bounds how many rules are read, which are refused where they are
// more than a site may have.
const maxPlainRules = 32_768

var yes, no = true, false

func readPlainRule(p *policy.PlainJSON, rule *RuleBody) bool {
	var seen uint32
	for p.Open('{'); p.More('}'); {
		switch string(p.Name()) {
		case "rank":
			p.Once(&seen, memberRank)
			rule.Rank = new(p.Number())
		case "path":
			p.Once(&seen, memberPath)
			rule.Path = string(p.Text())
		case "methods":
			p.Once(&seen, memberMethods)
			rule.Methods = p.Texts()
		case "allow":
			p.Once(&seen, memberAllow)
			rule.Allow.RawMessage = p.Raw()
		case "is_forward":
			p.Once(&seen, memberForward)
			if rule.Forward = &no; p.Bool() {
				rule.Forward = &yes
			}
		case "engaged":
			p.Once(&seen, memberEngaged)
			rule.Engaged = string(p.Text())
		default:
			return false
		}
	}
	return !p.Failed() && rule.fits()
}

// fits says whether a rule that was read is as the schema wants it.
func (b *RuleBody) fits() bool {
	return (b.Rank == nil || *b.Rank <= maxRankText) &&
		b.Path != "" && utf8.RuneCountInString(b.Path) <= maxPathText &&
		len(b.Methods) <= maxMethodNames &&
		len(b.Allow.RawMessage) > 0 &&
		utf8.RuneCountInString(b.Engaged) <= maxTagsText
}
