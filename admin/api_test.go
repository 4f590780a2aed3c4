package admin_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gatefold/gatefold/admin"
)

func TestNewRequiresOptions(t *testing.T) {
	if _, err := admin.New(admin.Options{}); err == nil {
		t.Error("an API without options was created")
	}
}

func TestUnauthorizedCalls(t *testing.T) {
	b := newFixture(t, false)
	anonymous := b.callAs("", http.MethodGet, "/management/access-lists", "")
	anonymous.refused(http.StatusUnauthorized, "unauthorized", "")
	if strings.Contains(anonymous.body, "secret reason") || anonymous.head.Get("WWW-Authenticate") == "" {
		t.Errorf("the refusal gives the reason, or no challenge: %v %s", anonymous.head, anonymous.body)
	}
	p := b.callAs("refused", http.MethodGet, "/management/access-lists", "").refused(http.StatusForbidden, "forbidden", "")
	if p.Detail != "Not you." {
		t.Errorf("the refusal is %q", p.Detail)
	}
	// An unauthorized caller does not learn which resources exist.
	b.callAs("", http.MethodGet, "/nothing", "").refused(http.StatusUnauthorized, "unauthorized", "")
}

func TestUnknownRoutesAreProblems(t *testing.T) {
	b := newFixture(t, false)
	for _, path := range []string{
		"/", "/management", "/management/nothing", "/management/access-lists/", "//management/access-lists",
		"/management/../management/access-lists", "/openapi.json", "/docs", "/schemas/x.json",
	} {
		b.call(http.MethodGet, path, "").refused(http.StatusNotFound, "not_found", "")
	}
	wrong := b.call(http.MethodDelete, "/management/access-lists", "")
	wrong.refused(http.StatusMethodNotAllowed, "method_not_allowed", "")
	if allow := wrong.head.Get("Allow"); !strings.Contains(allow, "GET") || !strings.Contains(allow, "POST") {
		t.Errorf("Allow is %q", allow)
	}
}

// A page in the operator's browser can post text/plain or a form to another origin
// without a preflight. Neither is accepted as JSON.
func TestCrossSiteFormIsNotJSON(t *testing.T) {
	b := newFixture(t, false)
	body := `{"name":"Evil"}`
	for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json-patch+json", "application/cbor"} {
		var header http.Header
		if kind != "" {
			header = http.Header{"Content-Type": {kind}}
		}
		b.send("acme", http.MethodPost, "/management/access-lists", body, header).refused(http.StatusUnsupportedMediaType, "unsupported_media_type", "")
	}
	var lists []any
	b.call(http.MethodGet, "/management/access-lists", "").want(http.StatusOK, &lists)
	if len(lists) != 1 {
		t.Errorf("a list was made: %v", lists)
	}
	b.send("acme", http.MethodPost, "/management/access-lists", body, http.Header{"Content-Type": {"application/json; charset=utf-8"}}).want(http.StatusCreated, nil)
}

func TestBadBodies(t *testing.T) {
	b := newFixture(t, false)
	const path = "/management/access-lists"
	for name, test := range map[string]struct {
		body   string
		status int
		code   string
	}{
		"empty":           {" ", 400, "bad_request"},
		"cut":             {`{"name":`, 400, "bad_request"},
		"trailing":        {`{"name":"x"} {"name":"y"}`, 400, "bad_request"},
		"twice":           {`{"name":"x","name":"y"}`, 400, "bad_request"},
		"null":            {`null`, 422, "validation_failed"},
		"array":           {`[]`, 422, "validation_failed"},
		"text":            {`"x"`, 422, "validation_failed"},
		"other case":      {`{"Name":"x"}`, 422, "validation_failed"},
		"both cases":      {`{"name":"x","Name":"y"}`, 422, "validation_failed"},
		"over one MiB":    {`{"name":"x","description":"` + strings.Repeat("x", 1<<20) + `"}`, 413, "too_large"},
		"deeply nested":   {`{"name":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`, 0, ""},
		"prototype":       {`{"name":"x","__proto__":{}}`, 422, "validation_failed"},
		"control in text": {`{"name":"x\u0000y"}`, 422, "validation_failed"},
	} {
		t.Run(name, func(t *testing.T) {
			got := b.call(http.MethodPost, path, test.body)
			if test.status == 0 {
				if got.code < 400 || got.code >= 500 {
					t.Errorf("status %d", got.code)
				}
				return
			}
			got.refused(test.status, test.code, "")
		})
	}
	var lists []any
	b.call(http.MethodGet, path, "").want(http.StatusOK, &lists)
	if len(lists) != 1 {
		t.Errorf("a list was made: %v", lists)
	}
}

// A value may be a secret: errors name the field and do not repeat it.
func TestErrorsRepeatNothing(t *testing.T) {
	b := newFixture(t, true)
	for path, body := range map[string]string{
		"/management/create-signed-link": `{"url":17,"sku":["hunter2"]}`,
		"/management/reader-tokens":      `{"userId":{"hunter2":1},"password":"hunter2"}`,
		"/management/access-lists":       `{"name":"hunter2`,
	} {
		if got := b.call(http.MethodPost, path, body); got.code < 400 || strings.Contains(got.body, "hunter2") {
			t.Errorf("%s: %d %s", path, got.code, got.body)
		}
	}
}

func TestUnknownQueryParametersAreRefused(t *testing.T) {
	b := newFixture(t, false)
	b.call(http.MethodGet, "/management/signed-links?limt=5", "").refused(http.StatusUnprocessableEntity, "validation_failed", "query.limt")
	b.call(http.MethodGet, "/management/signed-links?vendor=other", "").refused(http.StatusUnprocessableEntity, "validation_failed", "query.vendor")
	for _, limit := range []string{"0", "-1", "1001", "ten", "1e2"} {
		b.call(http.MethodGet, "/management/signed-links?limit="+limit, "").refused(http.StatusUnprocessableEntity, "validation_failed", "query.limit")
	}
	// For the operator, vendor is a parameter of Authorize.
	newFixture(t, true).call(http.MethodGet, "/management/signed-links?vendor=acme", "").want(http.StatusOK, nil)
}

// The store fails: the log and the operator get the cause, other callers do not.
func TestClosedStoreIs503(t *testing.T) {
	for _, operator := range []bool{false, true} {
		b := newFixture(t, operator)
		b.closeStore()
		p := b.call(http.MethodGet, "/management/access-lists", "").refused(http.StatusServiceUnavailable, "store_unavailable", "")
		if tells := strings.Contains(p.Detail, "closed"); tells != operator {
			t.Errorf("operator %v reads %q", operator, p.Detail)
		}
		if len(b.failed) != 1 {
			t.Errorf("the log has %v", b.failed)
		}
	}
}
