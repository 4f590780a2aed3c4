package admin_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/gatefold/gatefold/policy"
)

// Readers sign the terms, sign new terms again, and the next request is decided by it.
func TestAgreements(t *testing.T) {
	b := coworkingSite(t, true)
	signed := func(when string, want policy.Reason) {
		t.Helper()
		if got := b.decides("xia", "signed", `{"agreement":"terms-of-use"}`); got != want {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	b.site(http.MethodPost, "/api/agreements", `{"title":"Terms of Use","text":"Be kind."}`).want(http.StatusCreated, nil)
	b.site(http.MethodPost, "/api/agreements", `{"title":"Terms of use"}`).refused(http.StatusConflict, "conflict", "")
	b.site(http.MethodPost, "/api/agreements", `{"title":"Later","updated_at":"2100-01-01T00:00:00Z"}`).refused(http.StatusUnprocessableEntity, "validation_failed", "body.updated_at")
	b.site(http.MethodPost, "/api/agreements", `{"title":"!"}`).refused(http.StatusUnprocessableEntity, "validation_failed", "body.slug")
	b.site(http.MethodGet, "/api/legal/unknown", "").refused(http.StatusNotFound, "not_found", "")
	b.site(http.MethodPost, "/api/legal/unknown/sign?user=xia", `{"read_terms":true}`).refused(http.StatusNotFound, "not_found", "")
	signed("before the signature", policy.ReasonAgreementRequired)

	sign := "/api/legal/terms-of-use/sign"
	b.as("", http.MethodGet, "/api/legal/terms-of-use", "").want(http.StatusOK, nil)
	b.as("", http.MethodGet, "/api/legal", "").want(http.StatusOK, nil)
	b.as("", http.MethodPost, sign, `{"read_terms":true}`).refused(http.StatusUnauthorized, "unauthorized", "")
	b.as("xia", http.MethodPost, sign, `{"read_terms":false}`).refused(http.StatusUnprocessableEntity, "validation_failed", "body.read_terms")
	b.as("xia23", http.MethodPost, sign+"?user=xia", `{"read_terms":true}`).refused(http.StatusForbidden, "forbidden", "")
	b.site(http.MethodPost, sign, `{"read_terms":true}`).refused(http.StatusUnprocessableEntity, "validation_failed", "query.user")
	signed("after others tried", policy.ReasonAgreementRequired)
	b.as("xia", http.MethodPost, sign, `{"read_terms":true}`).want(http.StatusOK, nil)
	signed("after the signature", policy.ReasonAuthenticated)
	b.as("xia", http.MethodPut, "/api/agreements/terms-of-use", `{"title":"Mine"}`).refused(http.StatusForbidden, "forbidden", "")
	b.site(http.MethodDelete, "/api/agreements/terms-of-use", "").refused(http.StatusConflict, "conflict", "")

	b.clock = b.clock.Add(time.Hour)
	b.site(http.MethodPut, "/api/agreements/terms-of-use", `{"text":"Be very kind."}`).want(http.StatusOK, nil)
	signed("with a new text only", policy.ReasonAuthenticated)
	b.site(http.MethodPut, "/api/agreements/terms-of-use", fmt.Sprintf(`{"updated_at":%q}`, b.clock.Add(time.Minute).Format(time.RFC3339))).
		refused(http.StatusUnprocessableEntity, "validation_failed", "body.updated_at")
	b.site(http.MethodPut, "/api/agreements/terms-of-use", fmt.Sprintf(`{"updated_at":%q}`, b.clock.Format(time.RFC3339))).want(http.StatusOK, nil)
	signed("with a new version", policy.ReasonAgreementRequired)
	b.site(http.MethodPost, sign+"?user=xia", `{"read_terms":true}`).want(http.StatusOK, nil)
	signed("signed at the moment of the version", policy.ReasonAuthenticated)
}
