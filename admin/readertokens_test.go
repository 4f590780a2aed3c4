package admin_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/gatefold/gatefold/keys"
)

const readerTokens = "/management/reader-tokens"

func TestReaderTokens(t *testing.T) {
	b := newFixture(t, true)
	var made struct{ Token, ExpiresAt string }
	b.call(http.MethodPost, readerTokens, `{"userId":"u","email":"R@example.com","emailVerified":true,"publisherUserId":"p","site":"news"}`).want(http.StatusOK, &made)
	if want := b.clock.Add(time.Hour).Format(time.RFC3339); made.ExpiresAt != want {
		t.Errorf("expiresAt is %s, want %s", made.ExpiresAt, want)
	}
	set, err := b.keyring.Source("acme").KeySet(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	news, sport := keys.OwnReaderIssuer("acme", "news"), keys.OwnReaderIssuer("acme", "sport")
	claims, err := news.Verify(made.Token, set, b.clock)
	if err != nil || claims.UserID != "u" || claims.Email != "R@example.com" || !claims.EmailVerified || claims.PublisherUserID != "p" {
		t.Errorf("the token says %+v, %v", claims, err)
	}
	if _, err := sport.Verify(made.Token, set, b.clock); err == nil {
		t.Error("the token counts at another site")
	}
	for body, location := range map[string]string{
		`{}`:                           "body.userId",
		`{"userId":""}`:                "body.userId",
		`{"userId":"u","site":"No!"}`:  "body.site",
		`{"userId":"u","expiresIn":0}`: "body.expiresIn",
	} {
		b.call(http.MethodPost, readerTokens, body).refused(http.StatusUnprocessableEntity, "validation_failed", location)
	}
}

// A reader token can impersonate any reader: a vendor's client cannot create one.
func TestReaderTokensRequireOperator(t *testing.T) {
	newFixture(t, false).call(http.MethodPost, readerTokens, `{"userId":"u"}`).refused(http.StatusNotFound, "not_found", "")
}
