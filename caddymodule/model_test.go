package caddymodule

import (
	"slices"
	"strings"
	"time"
)

// The model is a second, naive description of what the gate must allow: lists and loops,
// without caches, indexes, versions or a store. TestModel compares it with real gates. It
// shares no code with them.

// model is what a vendor's records are at a moment.
type model struct {
	now     time.Time
	rules   []modelRule // in the store, of the site
	grants  []*modelGrant
	bundles map[string][]string // members by sku
	trusted *modelDomain        // the publisher's domain; nil if it is not registered
	denied  []string            // ids of the publisher's keys
	retired []string            // ids of the vendor's keys
}

// modelSite is what the configuration of a node says about the site.
type modelSite struct {
	rules       []modelRule // nil: those in the store
	cookieTTL   time.Duration
	shareDomain bool // links of the publisher open pages of all hosts of the site
	// caseSensitive compares paths with rules exactly only.
	caseSensitive bool
}

type modelRule struct {
	path    string
	methods []string
	steps   []modelStep
}

type modelStep struct {
	operator string
	skus     []string
}

type modelGrant struct {
	id, userID, email, publisherID, sku string
	inactive                            bool
	starts, ends                        time.Time // zero: no bound
}

// modelReader is a reader's token.
type modelReader struct {
	token, key, userID, email, publisherID string
	verified, forged                       bool
	expires                                time.Time
}

// modelLink is a link's token. Key is the id of the key that signed it.
type modelLink struct {
	token, key        string
	published, forged bool
	sku, content      string
	host, path, query string // of its url; empty: none
	maxUses           int
	issued, expires   time.Time
	record            *modelRecord
}

// modelRecord is what the store has of a link. Two tokens of a publisher may name one.
type modelRecord struct {
	id      string
	first   *modelLink // the link that was stored, of a publisher's the one used first
	uses    int
	revoked bool
}

// modelCookie is the cookie of a redeemed link.
type modelCookie struct {
	header  string
	record  *modelRecord
	expires time.Time
}

type modelDomain struct {
	key     string
	allowed []string // empty: every resource
}

type modelRequest struct {
	method, host, path, query string
	reader                    *modelReader
	token                     *modelLink
	twice                     bool // another token is in the query as well
	cookies                   []*modelCookie
	preview                   bool // fetched for a preview, not by the link's reader
}

// decide returns the reason of a request's decision, and the link that it redeems. The
// rules are compared with the path exactly and without regard to case, and the stricter
// decision counts.
func (m *model) decide(site *modelSite, q *modelRequest) (reason string, redeems *modelLink) {
	rules := site.rules
	if rules == nil {
		rules = m.rules
	}
	exact := slices.IndexFunc(rules, func(rule modelRule) bool { return rule.matches(q, false) })
	folded := slices.IndexFunc(rules, func(rule modelRule) bool { return rule.matches(q, true) })
	reason, redeems = m.decideBy(site, rules, exact, q)
	if folded == exact || site.caseSensitive {
		return reason, redeems
	}
	other, also := m.decideBy(site, rules, folded, q)
	if strictness(other, also) > strictness(reason, redeems) {
		return other, also
	}
	return reason, redeems
}

// strictness is higher for decisions that require more.
func strictness(reason string, redeems *modelLink) int {
	order := []string{"public", "authenticated", "entitled", "signed_link"}
	switch {
	case !allows(reason):
		return 10
	case redeems != nil && redeems.maxUses > 0:
		return 9
	case redeems != nil && redeems.record.first == nil:
		return 8
	default:
		return slices.Index(order, reason)
	}
}

// decideBy decides by the rule with an index, or by none.
func (m *model) decideBy(site *modelSite, rules []modelRule, i int, q *modelRequest) (reason string, redeems *modelLink) {
	if i < 0 {
		return "no_rule", nil
	}
	rule := rules[i]
	for _, step := range rule.steps {
		if reason = m.judge(&rule, step, q); allows(reason) {
			return reason, nil
		}
	}
	i = slices.IndexFunc(rule.steps, func(step modelStep) bool { return step.operator == "entitled" })
	if i < 0 {
		return reason, nil
	}
	page := &modelPage{rules: rules, rule: &rule, request: q}
	page.skus, page.content = rule.needs(rule.steps[i], q)
	reads := q.method == "GET" || q.method == "HEAD"
	for _, cookie := range q.cookies {
		if reads && m.now.Before(cookie.expires) && m.redeemedOpens(site, cookie.record, page) {
			return "signed_link", nil
		}
	}
	switch {
	case q.token == nil:
		return reason, nil
	case q.twice:
		return "bad_query", nil
	case !reads:
		return reason, nil
	}
	verdict := m.verify(q.token)
	if verdict == "" {
		verdict = m.judgeLink(site, page)
		if q.token.maxUses > 0 && (q.method == "HEAD" || q.preview) {
			return reason, nil
		}
	}
	switch {
	case verdict == "signed_link":
		return verdict, q.token
	case reason == "bad_credential":
		return reason, nil
	default:
		return verdict, nil
	}
}

func allows(reason string) bool {
	return slices.Contains([]string{"public", "authenticated", "entitled", "signed_link"}, reason)
}

// matches reports whether the rule's path is a beginning of the request's, segment by
// segment.
func (r *modelRule) matches(q *modelRequest, fold bool) bool {
	method := q.method
	if method == "HEAD" {
		method = "GET"
	}
	if len(r.methods) > 0 && !slices.Contains(r.methods, method) {
		return false
	}
	template, path := segmentsOf(r.path), segmentsOf(q.path)
	if len(template) > len(path) {
		return false
	}
	for i, segment := range template {
		if !strings.HasPrefix(segment, "{") && segment != path[i] && (!fold || !strings.EqualFold(segment, path[i])) {
			return false
		}
	}
	return true
}

func segmentsOf(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(segment string) bool { return segment == "" })
}

// needs returns the skus of which a step accepts each, and the content of the page.
func (r *modelRule) needs(step modelStep, q *modelRequest) (skus []string, content string) {
	path := segmentsOf(q.path)
	if i := slices.Index(segmentsOf(r.path), "{publisherContentId}"); i >= 0 {
		content = path[i]
	}
	for _, sku := range step.skus {
		skus = append(skus, strings.ReplaceAll(sku, "{publisherContentId}", content))
	}
	return skus, content
}

// judge returns the reason that one step gives.
func (m *model) judge(rule *modelRule, step modelStep, q *modelRequest) string {
	switch {
	case step.operator == "any":
		return "public"
	case q.reader == nil:
		return "login_required"
	case q.reader.forged || !m.now.Before(q.reader.expires) || slices.Contains(m.retired, q.reader.key):
		return "bad_credential"
	case step.operator == "authenticated":
		return "authenticated"
	}
	skus, _ := rule.needs(step, q)
	for _, grant := range m.grants {
		if grant.isFor(q.reader) && grant.counts(m.now) && slices.ContainsFunc(skus, func(sku string) bool { return m.gives(grant.sku, sku) }) {
			return "entitled"
		}
	}
	return "not_entitled"
}

func (g *modelGrant) isFor(r *modelReader) bool {
	return g.userID != "" && g.userID == r.userID ||
		g.publisherID != "" && g.publisherID == r.publisherID ||
		g.email != "" && g.email == r.email && r.verified
}

func (g *modelGrant) counts(now time.Time) bool {
	return !g.inactive && !now.Before(g.starts) && (g.ends.IsZero() || now.Before(g.ends))
}

// gives reports whether a sku is another, or a bundle that contains it.
func (m *model) gives(granted, sku string) bool {
	return granted == sku || slices.ContainsFunc(m.bundles[granted], func(member string) bool { return m.gives(member, sku) })
}

// verify returns why a link's token is not valid, whatever page it is used for. The
// vendor's own is checked for its time before its signature, a publisher's after it.
func (m *model) verify(link *modelLink) string {
	expired := !m.now.Before(link.expires)
	switch {
	case link.published && m.trusted == nil:
		return "link_untrusted"
	case link.published && (m.trusted.key != link.key || slices.Contains(m.denied, link.key)), slices.Contains(m.retired, link.key):
		return "link_invalid"
	case link.forged && (link.published || !expired):
		return "link_invalid"
	case expired:
		return "link_expired"
	default:
		return ""
	}
}

// judgeLink returns the reason that a valid token gives for a page.
func (m *model) judgeLink(site *modelSite, page *modelPage) string {
	q := page.request
	link := q.token
	if reason := m.mayOpen(site, link, q); reason != "" {
		return reason
	}
	switch stored := link.record.first; {
	case link.record.revoked:
		return "link_revoked"
	case stored != nil && !stored.sameClaims(link):
		return "link_invalid"
	case !link.opens(site, page):
		return "link_other_resource"
	case link.maxUses > 0 && link.record.uses >= link.maxUses:
		return "link_used_up"
	default:
		return "signed_link"
	}
}

// mayOpen returns why the publisher of a link may not speak for a page.
func (m *model) mayOpen(site *modelSite, link *modelLink, q *modelRequest) string {
	switch {
	case !link.published:
		return ""
	case !site.shareDomain && q.host != partnerDomain:
		return "link_other_site"
	case len(m.trusted.allowed) > 0 && !slices.Contains(m.trusted.allowed, link.content):
		return "link_not_allowed"
	default:
		return ""
	}
}

func (l *modelLink) sameClaims(other *modelLink) bool {
	return l.sku == other.sku && l.content == other.content && l.maxUses == other.maxUses &&
		l.issued.Equal(other.issued) && l.expires.Equal(other.expires)
}

// modelPage is a page under the rule that its path matches.
type modelPage struct {
	rules   []modelRule
	rule    *modelRule
	request *modelRequest
	skus    []string
	content string
}

// opens reports whether a link opens a page: one with the sku and of the content that the
// link names, or of the content of its landing page, or the landing page alone.
func (l *modelLink) opens(site *modelSite, page *modelPage) bool {
	q := page.request
	switch {
	case l.sku != "" && !slices.Contains(page.skus, l.sku):
		return false
	case l.content != "":
		// Without a space it is content of the first rule that has any.
		i := slices.IndexFunc(page.rules, func(rule modelRule) bool { return rule.hasContent() })
		return l.content == page.content && page.rules[i].path == page.rule.path
	case l.host == "":
		return true
	case l.host != q.host:
		return false
	case slices.Equal(segmentsOf(l.path), segmentsOf(q.path)) && l.opensQuery(q.query):
		return true
	}
	rule, content := l.landing(site, page.rules)
	return content != "" && content == page.content && rule == page.rule.path
}

func (l *modelLink) opensQuery(query string) bool {
	return l.query == "" || slices.Equal(slices.DeleteFunc(strings.Split(query, "&"), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		wanted, _, _ := strings.Cut(l.query, "=")
		return name != wanted
	}), []string{l.query})
}

// landing returns the content of the link's url and the path of its rule, unless there are
// two of them.
func (l *modelLink) landing(site *modelSite, rules []modelRule) (path, content string) {
	q := &modelRequest{method: "GET", path: l.path}
	for _, fold := range []bool{false, true} {
		i := slices.IndexFunc(rules, func(rule modelRule) bool { return rule.matches(q, fold) })
		if i < 0 || !rules[i].hasContent() || fold && site.caseSensitive {
			continue
		}
		_, found := rules[i].needs(modelStep{}, q)
		if content != "" && (content != found || path != rules[i].path) {
			return "", ""
		}
		path, content = rules[i].path, found
	}
	return path, content
}

// hasContent reports whether links open the content of the rule's pages.
func (r *modelRule) hasContent() bool {
	return strings.Contains(r.path, "{publisherContentId}") &&
		slices.ContainsFunc(r.steps, func(step modelStep) bool { return step.operator == "entitled" })
}

// redeemedOpens reports whether a link that was redeemed opens a page.
func (m *model) redeemedOpens(site *modelSite, record *modelRecord, page *modelPage) bool {
	link := record.first
	if record.revoked || !m.now.Before(link.expires) || !link.opens(site, page) {
		return false
	}
	// The key of the vendor's own link is not asked for again: its record is the vendor's.
	return !link.published || m.trusted != nil && m.mayOpen(site, link, page.request) == "" &&
		m.trusted.key == link.key && !slices.Contains(m.denied, link.key)
}

// redeem records a redemption. The response to a GET sets a cookie.
func (m *model) redeem(site *modelSite, q *modelRequest, header string) *modelCookie {
	record := q.token.record
	if record.first == nil {
		record.first = q.token
	}
	if q.token.maxUses > 0 {
		record.uses++
	}
	if q.method != "GET" {
		return nil
	}
	expires := m.now.Add(site.cookieTTL).Truncate(time.Second)
	if q.token.expires.Before(expires) {
		expires = q.token.expires
	}
	return &modelCookie{header: header, record: record, expires: expires}
}
