module github.com/ballast-lb/caddy-ballast/lab

go 1.26.0

replace github.com/ballast-lb/caddy-ballast => ../

require (
	github.com/ballast-lb/caddy-ballast v0.0.0-00010101000000-000000000000
	github.com/failsafe-go/failsafe-go v0.9.8
)

require (
	github.com/bits-and-blooms/bitset v1.25.0 // indirect
	github.com/influxdata/tdigest v0.0.1 // indirect
)
