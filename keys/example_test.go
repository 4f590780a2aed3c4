package keys_test

import (
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/gatefold/gatefold/keys"
)

// A vendor signs a link, and the gate verifies it when a reader follows it.
func ExampleSignLink() {
	key, err := keys.GenerateSigningKey()
	if err != nil {
		log.Fatal(err)
	}
	ring := keys.NewRing(key, []keys.PublicKey{key.Public()})
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

	token, err := keys.SignLink(ring, keys.LinkClaims{
		Issuer: keys.VendorIssuer("acme"), ID: "link_1", PublisherContentID: "article-1", MaxUses: 3,
		IssuedAt: now.Unix(), ExpiresAt: now.Add(keys.DefaultExpiresIn).Unix(),
	})
	if err != nil {
		log.Fatal(err)
	}

	claims, err := keys.VerifyLink(token, keys.VendorIssuer("acme"), ring.KeySet(), now)
	fmt.Println(claims.ID, claims.PublisherContentID, claims.MaxUses, err)

	_, err = keys.VerifyLink(token, keys.VendorIssuer("acme"), ring.KeySet(), now.Add(8*24*time.Hour))
	fmt.Println(err, errors.Is(err, keys.ErrExpired))
	// Output:
	// link_1 article-1 3 <nil>
	// token has expired true
}

// A site verifies the token that identifies a reader. A token for another site
// is refused.
func ExampleReaderIssuer_Verify() {
	key, err := keys.GenerateSigningKey()
	if err != nil {
		log.Fatal(err)
	}
	ring := keys.NewRing(key, []keys.PublicKey{key.Public()})
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

	token, err := keys.SignReader(ring, "acme", "news", keys.ReaderClaims{
		UserID: "reader-7", Email: "ann@example.com", EmailVerified: true, ExpiresAt: now.Add(time.Hour).Unix(),
	}, now)
	if err != nil {
		log.Fatal(err)
	}

	news := keys.OwnReaderIssuer("acme", "news")
	reader, err := news.Verify(token, ring.KeySet(), now)
	fmt.Println(reader.UserID, reader.Email, err)

	sport := keys.OwnReaderIssuer("acme", "sport")
	_, err = sport.Verify(token, ring.KeySet(), now)
	fmt.Println(err)
	// Output:
	// reader-7 ann@example.com <nil>
	// token for another audience
}

// The keys of a publisher domain are pinned as PEM. A key's id is its RFC 7638
// thumbprint.
func ExampleParsePinnedKeys() {
	const pinned = `-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEf83OJ3D2xF1Bg8vub9tLe1gHMzV7
6e8Tus9uPHvRVEXH8UTNG72bfocs3+257rn0s2ldbqkLJK2KRiMohYjlrQ==
-----END PUBLIC KEY-----`
	set, err := keys.ParsePinnedKeys(pinned)
	fmt.Println(set.IDs(), err)

	_, err = keys.ParsePinnedKeys("not a key")
	fmt.Println(err)
	// Output:
	// [oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U] <nil>
	// has no PEM block: it must start with -----BEGIN PUBLIC KEY-----
}
