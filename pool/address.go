// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
)

// maxRange is the maximum number of backends in one port range.
const maxRange = 10_000

// parseAddress returns the dial addresses that a configured address stands for, several for a
// port range, and its scheme.
func parseAddress(text string) (dials []string, scheme string, err error) {
	if env := caddyfileutil.Environment(text); env != "" {
		return nil, "", fmt.Errorf("address %q: run-time placeholders are not available in a pool; write %s, which is replaced when the Caddyfile is read", text, env)
	}
	if strings.ContainsAny(text, "{}") {
		return nil, "", fmt.Errorf("address %q: placeholders are not available in a pool; use them in reverse_proxy's own upstreams", text)
	}
	network, host, port := "", "", ""
	if before, _, ok := strings.Cut(text, "://"); ok {
		scheme = before
		if host, port, err = splitURL(text); err != nil {
			return nil, "", fmt.Errorf("address %q: %w", text, err)
		}
	} else {
		if network, host, port, err = caddy.SplitNetworkAddress(text); err != nil {
			return nil, "", fmt.Errorf("address %q: write host:port, [ip6]:port, unix//path or https://host:port", text)
		}
		if network == "unix+h2c" {
			network, scheme = "unix", "h2c"
		}
	}
	switch network {
	case "unix":
		if host == "" {
			return nil, "", fmt.Errorf("address %q: the path is missing; write unix//path/to/socket", text)
		}
		if path, _, ok := strings.Cut(host, "|"); ok {
			return nil, "", fmt.Errorf("address %q: permissions apply only to sockets that Caddy listens on; write unix/%s", text, path)
		}
		return []string{caddy.JoinNetworkAddress(network, host, "")}, scheme, nil
	case "tcp":
		network = "" // tcp is the default: the same address
	case "", "tcp4", "tcp6":
	default:
		if strings.ContainsAny(network, ".:[") {
			return nil, "", fmt.Errorf("address %q: a backend's address has no path; write %s, and `rewrite` for the path", text, network)
		}
		return nil, "", fmt.Errorf("address %q: network %q cannot carry HTTP; write tcp, tcp4, tcp6 or unix, or none", text, network)
	}
	ip, notIP := netip.ParseAddr(host)
	switch isIPv6 := notIP == nil && strings.Contains(host, ":"); {
	case isIPv6 && !strings.Contains(text, "["):
		return nil, "", fmt.Errorf("address %q: an IPv6 address needs brackets, since its last group may be a port; write it as in [::1]:80", text)
	case strings.HasSuffix(text, ","):
		return nil, "", fmt.Errorf("address %q: separate addresses with spaces, not commas; write %s", text, strings.TrimRight(text, ","))
	case host != "" && host == text && !strings.ContainsFunc(host, notDigit):
		return nil, "", fmt.Errorf("address %q: a number is not a host; for a port write :%s", text, text)
	case notIP != nil && host != "" && !strings.ContainsFunc(host, notInIPv4):
		return nil, "", fmt.Errorf("address %q: %q is neither an IP address, which has four numbers from 0 to 255, nor a host name, which has letters", text, host)
	case notIP != nil && strings.ContainsFunc(host, notInName):
		return nil, "", fmt.Errorf("address %q: %q is neither a host name nor an IP address; write host:port or [ip6]:port, separated by spaces", text, host)
	case notIP != nil && host != "" && !resolvable(host):
		return nil, "", fmt.Errorf("address %q: %q is not a host name, which has at most 253 characters, and 1 to 63 between dots", text, host)
	case notIP == nil && ip.IsMulticast():
		return nil, "", fmt.Errorf("address %q: %s is a multicast address; write the backend's own address", text, host)
	case host == "" && port == "":
		return nil, "", errors.New("an address is empty; write host:port")
	}
	dials, err = expandPorts(network, canonical(host), port, scheme)
	if err != nil {
		return nil, "", fmt.Errorf("address %q: %w", text, err)
	}
	return dials, scheme, nil
}

// notInName reports whether a host name cannot contain r. Go does not look up such names.
func notInName(r rune) bool {
	return r >= 0x80 || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_.", r)
}

func notDigit(r rune) bool { return r < '0' || r > '9' }

func notInIPv4(r rune) bool { return r != '.' && notDigit(r) }

// resolvable reports whether a host name is valid in DNS.
func resolvable(host string) bool {
	host = strings.TrimSuffix(host, ".")
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
	}
	return len(host) <= 253
}

// canonical returns the canonical form of a host, so that different spellings of an address are
// recognised as the same, and state and ids are kept.
func canonical(host string) string {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.String()
	}
	return strings.ToLower(host)
}

// splitURL splits scheme://host:port, where the port may be a range.
func splitURL(text string) (host, port string, err error) {
	scheme, rest, _ := strings.Cut(text, "://")
	switch scheme {
	case "http", "https", "h2c":
	case "ws", "wss":
		return "", "", fmt.Errorf("scheme %s:// is for browsers; write http%s:// instead", scheme, strings.TrimPrefix(scheme, "ws"))
	default:
		return "", "", fmt.Errorf("scheme %s:// is unknown; write http://, https:// or h2c://", scheme)
	}
	if i := strings.LastIndexByte(rest, ':'); i >= 0 && strings.Contains(rest[i:], "-") {
		rest, port = rest[:i], rest[i+1:] // a range, which url.Parse rejects
	}
	u, err := url.Parse(scheme + "://" + rest)
	if err != nil {
		return "", "", fmt.Errorf("%w; write %s://host:port", errors.Unwrap(err), scheme)
	}
	if u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return "", "", fmt.Errorf("a backend's URL has a scheme, a host and a port only; write %s://%s, and `rewrite` for a path", scheme, u.Host)
	}
	if u.Hostname() == "" {
		return "", "", fmt.Errorf("the host is missing; write %s://host:port", scheme)
	}
	if port == "" {
		port = u.Port()
	}
	switch {
	case scheme != "https" && port == "443":
		return "", "", fmt.Errorf("port 443 is for https://, not %s://; write https:// or another port", scheme)
	case scheme == "https" && port == "80":
		return "", "", errors.New("port 80 is for http://, not https://; write http:// or another port")
	}
	return u.Hostname(), port, nil
}

// expandPorts returns an address for each port of a range.
func expandPorts(network, host, port, scheme string) ([]string, error) {
	if port == "" {
		port = "80"
		if scheme == "https" {
			port = "443"
		}
	}
	low, high, ranged := strings.Cut(port, "-")
	if !ranged {
		high = low
	}
	from, err1 := strconv.ParseUint(low, 10, 16)
	to, err2 := strconv.ParseUint(high, 10, 16)
	switch {
	case err1 != nil || err2 != nil || from == 0 || to < from:
		return nil, fmt.Errorf("port must be from 1 to 65535, or a range such as 8001-8003, got %q", port)
	case to-from >= maxRange:
		return nil, fmt.Errorf("a port range must have at most %d ports; write a shorter one", maxRange)
	}
	dials := make([]string, 0, to-from+1)
	for p := from; p <= to; p++ {
		dials = append(dials, caddy.JoinNetworkAddress(network, host, strconv.FormatUint(p, 10)))
	}
	return dials, nil
}
