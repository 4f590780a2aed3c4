package admin

import (
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatefold/gatefold/keys"
)

// LinkLimits are the optional limits of a link, in requests and answers.
type LinkLimits struct {
	MaxUses     int64      `json:"maxUses,omitempty" minimum:"1" maximum:"2147483647" doc:"The maximum number of redemptions. Default: unlimited and not counted." example:"5"`
	MaxDevices  int64      `json:"maxDevices,omitempty" minimum:"1" maximum:"2147483647" doc:"The maximum number of browsers and programs that open the link, over its whole life. Default: unlimited and not counted." example:"3"`
	MaxNetworks int64      `json:"maxNetworks,omitempty" minimum:"1" maximum:"256" doc:"The number of networks (/24 of IPv4, /48 of IPv6) from which the link may be opened within an hour. One more, and the link is reported as leaked, or quarantined if the site's link_networks says so. Default: that of the site." example:"20"`
	StartsAt    *LinkStart `json:"startsAt,omitempty"`
	IPPrefix    string     `json:"ipPrefix,omitempty" minLength:"1" maxLength:"64" doc:"The network of the clients to which the link and its cookie open pages: an IPv4 or IPv6 network in CIDR notation, or one address. Default: every network." example:"203.0.113.0/24"`
	PerReader   *bool      `json:"perReader,omitempty" doc:"Whether the link opens pages to identified readers only, each of whom is one use, in however many browsers." example:"true"`
}

// LinkStart is the start of a link's validity.
type LinkStart struct{ time.Time }

// Schema implements huma.SchemaProvider. It has no example: one that is fixed would be in
// the past before long, or after the end of the link in the example of the whole body.
func (LinkStart) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Description: "The start of the validity (inclusive), in whole seconds, such as 2027-01-31T06:00:00Z. expiresIn counts from now all the same. Default: now.",
		Type:        huma.TypeString,
		Format:      "date-time",
	}
}

// apply sets the limits of a link that was issued at a time and has its lifetime.
func (l *LinkLimits) apply(claims *keys.LinkClaims, at time.Time) error {
	claims.MaxUses, claims.MaxDevices, claims.MaxNetworks = l.MaxUses, l.MaxDevices, l.MaxNetworks
	claims.PerReader = l.PerReader != nil && *l.PerReader
	if l.IPPrefix != "" {
		network, err := keys.ParseNetwork(l.IPPrefix)
		if err != nil {
			return invalid("ipPrefix", err.Error())
		}
		claims.IPPrefix = network.String()
	}
	if l.StartsAt == nil {
		return nil
	}
	starts := l.StartsAt.Add(time.Second - time.Nanosecond).Truncate(time.Second) // never earlier
	end := time.Unix(claims.ExpiresAt, 0)
	switch {
	case starts.Before(at.Add(-keys.Leeway * time.Second)):
		return invalid("startsAt", "is in the past: leave it out for a link that opens at once")
	case starts.After(at.Add(keys.MaxExpiresIn)):
		return invalid("startsAt", "is more than 366 days ahead, and a link ends within 366 days")
	case !starts.Before(end):
		return invalid("expiresIn", "ends the link at "+formatTime(end)+", and it starts at "+formatTime(starts)+": expiresIn counts from now, not from startsAt")
	}
	claims.NotBefore = starts.Unix()
	return nil
}

// wireLimits returns the limits in the claims of a link.
func wireLimits(claims *keys.LinkClaims) LinkLimits {
	limits := LinkLimits{MaxUses: claims.MaxUses, MaxDevices: claims.MaxDevices, MaxNetworks: claims.MaxNetworks, IPPrefix: claims.IPPrefix}
	if claims.NotBefore > 0 {
		limits.StartsAt = &LinkStart{time.Unix(claims.NotBefore, 0).UTC()}
	}
	if claims.PerReader {
		limits.PerReader = new(true)
	}
	return limits
}

func formatTime(at time.Time) string { return at.UTC().Format(time.RFC3339) }
