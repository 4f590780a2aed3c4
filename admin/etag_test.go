package admin_test

import (
	"crypto/elliptic"
	"net/http"
	"sync"
	"testing"
)

func ifMatch(tags string) http.Header {
	return http.Header{"Content-Type": {"application/json"}, "If-Match": {tags}}
}

// Two people edit one record. The second save is refused instead of undoing the
// first change.
func TestLostUpdateIsRefused(t *testing.T) {
	b := newFixture(t, false)
	for path, body := range map[string][2]string{
		listsPath:   {`{"name":"one"}`, `{"name":"two"}`},
		defaultPath: {`{"userId":"u","sku":"one"}`, `{"userId":"u","sku":"two"}`},
	} {
		t.Run(path, func(t *testing.T) {
			var made struct{ ID string }
			etag := b.call(http.MethodPost, path, body[0]).want(http.StatusCreated, &made).head.Get("ETag")
			one := path + "/" + made.ID
			if read := b.call(http.MethodGet, one, "").head.Get("ETag"); read != etag || etag == "" || etag[0] != '"' {
				t.Fatalf("made as %s, read as %s", etag, read)
			}
			changed := b.send("acme", http.MethodPut, one, body[1], ifMatch(etag)).want(http.StatusOK, nil).head.Get("ETag")
			if changed == etag || changed == "" {
				t.Fatalf("changed to %s", changed)
			}
			for _, stale := range []string{etag, `"other"`, "W/" + changed, `"a", ` + etag, "none", `""`} {
				b.send("acme", http.MethodPut, one, body[0], ifMatch(stale)).refused(http.StatusPreconditionFailed, "precondition_failed", "")
			}
			if read := b.call(http.MethodGet, one, "").head.Get("ETag"); read != changed {
				t.Errorf("a refused change changed it to %s", read)
			}
			for _, good := range []string{"*", `"other" , ` + changed, changed} {
				if b.send("acme", http.MethodPut, one, body[1], ifMatch(good)).want(http.StatusOK, nil).head.Get("ETag") != changed {
					t.Error("the same record has another ETag")
				}
			}
			// A missing record is missing, whatever the condition.
			b.send("acme", http.MethodPut, path+"/none", body[1], ifMatch("*")).refused(http.StatusNotFound, "not_found", "")
		})
	}
	var made struct{ ID string }
	etag := b.call(http.MethodPost, defaultPath, `{"userId":"u","sku":"one"}`).want(http.StatusCreated, &made).head.Get("ETag")
	b.send("acme", http.MethodDelete, defaultPath+"/"+made.ID, "", http.Header{"If-Match": {`"other"`}}).refused(http.StatusPreconditionFailed, "precondition_failed", "")
	b.send("acme", http.MethodDelete, defaultPath+"/"+made.ID, "", http.Header{"If-Match": {etag}}).want(http.StatusNoContent, nil)
}

// The ETag of a rule changes with its rank.
func TestRuleIfMatch(t *testing.T) {
	b := newFixture(t, false)
	const one = "/api/proxy/rules/a"
	made := b.call(http.MethodPost, "/api/proxy/rules", `{"path":"/a","allow":"any"}`).want(http.StatusCreated, nil).head.Get("ETag")
	read := b.call(http.MethodGet, one, "").head.Get("ETag")
	if made == "" || made != read {
		t.Fatalf("made as %s, read as %s", made, read)
	}
	changed := b.send("acme", http.MethodPut, one, `{"allow":"authenticated"}`, ifMatch(made)).want(http.StatusOK, nil).head.Get("ETag")
	b.send("acme", http.MethodPatch, one, `{"engaged":"x"}`, ifMatch(made)).refused(http.StatusPreconditionFailed, "precondition_failed", "")
	b.call(http.MethodPost, "/api/proxy/rules", `{"path":"/b","rank":1,"allow":"any"}`).want(http.StatusCreated, nil)
	b.send("acme", http.MethodPatch, one, `{"engaged":"x"}`, ifMatch(changed)).refused(http.StatusPreconditionFailed, "precondition_failed", "")
	moved := b.call(http.MethodGet, one, "").want(http.StatusOK, nil).head.Get("ETag")
	b.send("acme", http.MethodDelete, one, "", http.Header{"If-Match": {changed}}).refused(http.StatusPreconditionFailed, "precondition_failed", "")
	b.send("acme", http.MethodDelete, one, "", http.Header{"If-Match": {moved}}).want(http.StatusNoContent, nil)
}

// A domain is put whether it exists or not; with If-Match only if it exists.
func TestDomainIfMatch(t *testing.T) {
	b := newFixture(t, false)
	const one = "/management/domains/news.example.com"
	_, block := publisherKey(t, elliptic.P256())
	body := `{"signingKeyPem":` + quoted(block) + `}`
	b.send("acme", http.MethodPut, one, body, ifMatch("*")).refused(http.StatusPreconditionFailed, "precondition_failed", "")
	b.call(http.MethodGet, one, "").refused(http.StatusNotFound, "not_found", "")
	made := b.call(http.MethodPut, one, body).want(http.StatusOK, nil).head.Get("ETag")
	if read := b.call(http.MethodGet, one, "").want(http.StatusOK, nil).head.Get("ETag"); made == "" || made != read {
		t.Fatalf("made as %s, read as %s", made, read)
	}
	if same := b.send("acme", http.MethodPut, one, body, ifMatch(made)).want(http.StatusOK, nil).head.Get("ETag"); same != made {
		t.Errorf("the same domain has the ETag %s, which was %s", same, made)
	}
	body = `{"allowedResourceIds":["a"],` + body[1:]
	again := b.send("acme", http.MethodPut, one, body, ifMatch(made)).want(http.StatusOK, nil).head.Get("ETag")
	b.send("acme", http.MethodPut, one, body, ifMatch(made)).refused(http.StatusPreconditionFailed, "precondition_failed", "")
	b.send("acme", http.MethodDelete, one, "", http.Header{"If-Match": {made}}).refused(http.StatusPreconditionFailed, "precondition_failed", "")
	b.send("acme", http.MethodDelete, one, "", http.Header{"If-Match": {again}}).want(http.StatusNoContent, nil)
	b.call(http.MethodDelete, one, "").want(http.StatusNoContent, nil) // removing a missing record succeeds
}

// Of ten concurrent saves of the same state, one succeeds.
func TestConcurrentUpdates(t *testing.T) {
	b := newFixture(t, false)
	var made struct{ ID string }
	etag := b.call(http.MethodPost, listsPath, `{"name":"one"}`).want(http.StatusCreated, &made).head.Get("ETag")
	var group sync.WaitGroup
	codes := make([]int, 10)
	for i := range codes {
		group.Go(func() {
			codes[i] = b.send("acme", http.MethodPatch, listsPath+"/"+made.ID, `{"name":"two"}`, ifMatch(etag)).code
		})
	}
	group.Wait()
	seen := map[int]int{}
	for _, code := range codes {
		seen[code]++
	}
	if seen[http.StatusOK] != 1 || seen[http.StatusPreconditionFailed] != 9 {
		t.Errorf("the answers are %v", seen)
	}
}

// A change that compares no states must not be made as if the state were the expected one.
func TestIfMatchIsNotIgnored(t *testing.T) {
	b := newFixture(t, false)
	var link struct{ TokenID string }
	b.call(http.MethodPost, "/management/create-signed-link", `{"sku":"premium"}`).want(http.StatusOK, &link)
	one := "/management/signed-links/" + link.TokenID
	b.send("acme", http.MethodDelete, one, "", http.Header{"If-Match": {`"other"`}}).refused(http.StatusUnprocessableEntity, "validation_failed", "header.If-Match")
	var shown struct{ Status string }
	if b.call(http.MethodGet, one, "").want(http.StatusOK, &shown); shown.Status != "active" {
		t.Errorf("the link is %s", shown.Status)
	}
	b.send("acme", http.MethodGet, one, "", http.Header{"If-Match": {`"other"`}}).want(http.StatusOK, nil)
}
