package store

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"time"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// index returns the keys of a vendor's own link in the index of links. Links that publishers
// signed are not in it, as their ids do not sort by creation. There is none by sku: a search by
// it alone finds most links of a vendor.
func (l *SignedLink) index() (index [][]byte) {
	if !strings.HasPrefix(l.Claims.Issuer, keys.VendorIssuer("")) {
		return nil
	}
	add := func(kind, value string) {
		if value != "" {
			index = append(index, append(linkPrefix(kind, value), l.Claims.ID...))
		}
	}
	add(linkOfUser, l.Claims.Subject)
	add(linkOfContent, l.Claims.PublisherContentID)
	add(linkOfURL, urlHash(l.Claims.URL))
	return index
}

// urlHash returns the value of a url in the index, "" for none. It is short, as a search
// compares the url itself.
func urlHash(url string) string {
	if url == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(url))
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}

// puts returns the record of a link and its entries in the index, which expire together.
func (l *SignedLink) puts() ([]engine.Put, error) {
	stored, err := encode(l)
	expires := linkRetention(l.Claims.ExpiresAt)
	index := l.index()
	puts := append(make([]engine.Put, 0, 1+len(index)), engine.Put{Key: key(prefixLink, l.Claims.Issuer, l.Claims.ID), Value: stored, Expires: expires})
	for _, at := range index {
		puts = append(puts, engine.Put{Key: at, Value: []byte{}, Expires: expires})
	}
	return puts, err
}

// linkEntries returns the entries of a stored link for the index.
func linkEntries(k, value []byte) ([]engine.Put, error) {
	var link SignedLink
	if err := decode(k, value, &link); err != nil {
		return nil, err
	}
	puts, err := link.puts()
	return puts[1:], err
}

// forgetLink takes a person out of a link.
func forgetLink(e *erasing, k, value []byte) error {
	scrubbed, _ := e.person.scrub(value)
	var old, next SignedLink
	if err := decode(k, value, &old); err != nil {
		return err
	}
	if err := decode(k, scrubbed, &next); err != nil {
		return err
	}
	for _, at := range old.index() {
		e.t.set(at, nil, time.Time{})
	}
	expires := linkRetention(old.Claims.ExpiresAt)
	for _, at := range next.index() {
		e.t.set(at, []byte{}, expires)
	}
	e.t.set(k, scrubbed, expires)
	return nil
}
