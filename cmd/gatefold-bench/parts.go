package main

import (
	"context"
	"slices"
	"strings"
)

// part is a measurement of its own: a few rows of the table.
type part struct {
	name    string
	rows    []string // their names, or prefixes of them
	measure func(*bench, context.Context) error
}

// parts are measured in this order. Each starts the servers that it needs.
func parts() []part {
	return []part{
		{"redemptions", []string{rowRedemptions}, (*bench).redemptions},
		{"redemptions in Redis", []string{rowRedisRedemptions}, (*bench).redisRedemptions},
		{"revocation", []string{rowRevokedThere, rowRevokedHere}, (*bench).revocation},
		{"starting", []string{rowStarting}, (*bench).starting},
		{"memory", []string{rowMemory}, (*bench).memory},
		{partProxied, pairNames(), (*bench).proxied},
		{"publishing rules", []string{rowPublishing, rowPublishingDelay}, (*bench).publishing},
		{"a flood of forged tokens", []string{rowFlood}, (*bench).flood},
	}
}

// partProxied is the part whose rows are measured separately.
const partProxied = "requests through the proxy"

// wants reports whether -only matches one of the names.
func (o *options) wants(names ...string) bool {
	return o.only == nil || slices.ContainsFunc(names, o.only.MatchString)
}

// chosen returns the parts that -only matches by their name or by a row's.
func (o *options) chosen() []part {
	return slices.DeleteFunc(parts(), func(p part) bool { return !o.wants(append(p.rows, p.name)...) })
}

// partNames lists the parts for -help.
func partNames() string {
	all := parts()
	names := make([]string, len(all))
	for i := range all {
		names[i] = all[i].name
	}
	return strings.Join(names, ", ")
}

// need runs a preparation that several parts share, once, and returns its error.
func (b *bench) need(what string, do func() error) error {
	if err, done := b.needed[what]; done {
		return err
	}
	b.progress("%s", what)
	b.needed[what] = do()
	return b.needed[what]
}
