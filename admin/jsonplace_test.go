package admin_test

import (
	"net/http"
	"testing"
)

// A whole number with a fraction or an exponent, or out of range, is named where it is.
func TestWholeNumbersAreNamed(t *testing.T) {
	b := newFixture(t, false)
	const contracts = "/management/contracts"
	for location, c := range map[string][2]string{
		"body.maxUses":        {createLink, `{"sku":"s","maxUses":1.0}`},
		"body.maxDevices":     {createLink, `{"meta":{"a":[1.5,{"b":2}]},"sku":"s","maxDevices":3e0}`},
		"body.items[1].seats": {contracts, `{"items":[{"sku":"a","seats":1},{"sku":"b","seats":2.0}],"userData":{"email":"a@example.org"},"contractDuration":"PERPETUAL"}`},
		"body.recurringTime":  {contracts, `{"items":[{"sku":"a"}],"vendorData":{"x":"1.0"},"userData":{"email":"a@example.org"},"contractDuration":"RECURRING","recurringTime":1.0}`},
	} {
		b.call(http.MethodPost, c[0], c[1]).refused(http.StatusUnprocessableEntity, "validation_failed", location)
	}
}
