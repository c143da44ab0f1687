// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
)

func init() { caddy.RegisterModule(new(Docker)) }

// Docker discovers the running containers of a Docker or Podman engine. It follows the engine's events, and lists all
// containers once a minute, with Podman once a second. A container with a health check is a backend only while it is
// healthy. A container that is being stopped drains until it has ended. The id of a backend is the name of its container,
// and its instance the id of the container.
//
// A container may have the labels ballast.port, ballast.network, ballast.id, ballast.weight,
// ballast.tier, ballast.zone and ballast.backup; other labels that begin with ballast. become
// metadata.
//
// Access to the engine's socket is access to the machine. A proxy that allows only GET of
// /containers and /events is enough.
type Docker struct {
	// Labels are the labels of the containers, as key=value, or key for any value. A container
	// must have all of them.
	Labels []string `json:"labels,omitempty"`
	// Network is the network over which Caddy reaches the containers. Default: the label
	// ballast.network, or else the only network of the container.
	Network string `json:"network,omitempty"`
	// Port is the port of the containers, from 1 to 65535. Default: the label ballast.port, or else
	// the only TCP port that the image exposes.
	Port int `json:"port,omitempty"`
	// Host is the address of the engine's API: unix:///path, tcp://host:port, or an http or https
	// URL. Default: DOCKER_HOST in the environment, or else unix:///var/run/docker.sock.
	Host string `json:"host,omitempty"`
	// Healthy leaves out containers without a health check. Default: false.
	Healthy bool `json:"healthy,omitempty"`

	relist time.Duration // see dockerRelist; shorter in tests
}

const (
	dockerSocket = "unix:///var/run/docker.sock"
	// dockerRelist is the interval of full lists, so that a lost event is noticed.
	dockerRelist = time.Minute
	// podmanRelist is the same for Podman, which has no event for a container that is told to stop.
	podmanRelist = time.Second
	// dockerLabels is the prefix of the labels of Ballast.
	dockerLabels = "ballast."
)

var ports = caddyfileutil.Ints{Min: 1, Max: 65535}

// CaddyModule returns the Caddy module information.
func (*Docker) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: Namespace + ".docker", New: func() caddy.Module { return new(Docker) }}
}

// Provision sets the defaults.
func (d *Docker) Provision(caddy.Context) error {
	d.Host = cmp.Or(d.Host, os.Getenv("DOCKER_HOST"), dockerSocket)
	if d.Port != 0 {
		if err := ports.Check("port", d.Port); err != nil {
			return err
		}
	}
	return cmp.Or(d.checkLabels(), checkAPI("host", d.Host))
}

func (d *Docker) checkLabels() error {
	for _, l := range d.Labels {
		if key, _, _ := strings.Cut(l, "="); key == "" {
			return fmt.Errorf("label must be a key, or key=value, got %q", l)
		}
	}
	return nil
}

// Watch implements [Source].
func (d *Docker) Watch(ctx context.Context, update func(Update)) error {
	api, err := newClient(d.Host, nil)
	if err != nil {
		return err
	}
	defer api.close()
	w := &dockerWatch{Docker: d, api: api, update: update, stopping: make(map[string]time.Time)}
	return w.run(ctx)
}

// dockerWatch is one call of Watch.
type dockerWatch struct {
	*Docker
	api      *client
	podman   bool // the engine is Podman
	update   func(Update)
	stopping map[string]time.Time // containers that are told to stop: until when that is believed
}

// stopBelieved is how long a container drains that was told to stop and goes on.
const stopBelieved = time.Hour

// run lists the containers when it begins, after each event that matters, and once in dockerRelist.
func (w *dockerWatch) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Events first, so that none is lost between the list and them.
	res, err := w.api.get(ctx, "/events", w.eventQuery(), nil, 0)
	if err != nil {
		return err
	}
	events, failed := make(chan dockerEvent, 64), make(chan error, 1)
	s := newStream(res.Body)
	defer s.close()
	go func() { failed <- readEvents(ctx, s, events) }()
	defer func() {
		cancel()
		s.close()
		<-failed
	}()
	every := dockerRelist
	if w.podman = res.Header.Get("Libpod-Api-Version") != ""; w.podman {
		every = podmanRelist
	}
	relist := time.NewTicker(cmp.Or(w.relist, every))
	defer relist.Stop()
	for {
		if err := w.list(ctx); err != nil {
			return err
		}
		for again := false; !again; {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case err := <-failed:
				failed <- err
				return err
			case <-relist.C:
				again = true
			case e := <-events:
				again = w.note(e)
			}
		}
		for more := true; more; { // events that came meanwhile need no list of their own
			select {
			case e := <-events:
				w.note(e)
			default:
				more = false
			}
		}
	}
}

func (w *dockerWatch) filters() map[string][]string {
	f := map[string][]string{}
	if len(w.Labels) > 0 {
		f["label"] = w.Labels
	}
	return f
}

func (w *dockerWatch) eventQuery() url.Values {
	f := w.filters()
	f["type"] = []string{"container"}
	return url.Values{"filters": {encode(f)}}
}

// dockerEvent is an event of the engine. Podman has the same fields.
type dockerEvent struct {
	Type, Action string
	Actor        struct {
		ID         string
		Attributes map[string]string
	}
}

// readEvents sends the events of a stream until it ends.
func readEvents(ctx context.Context, s *stream, events chan<- dockerEvent) error {
	for {
		var e dockerEvent
		if err := s.next(&e); err != nil {
			return fmt.Errorf("the stream of events ended: %w", err)
		}
		select {
		case events <- e:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stopSignals are the signals that tell a process to end: SIGINT, SIGQUIT, SIGKILL, SIGTERM, and
// SIGRTMIN+3 of systemd.
var stopSignals = map[string]bool{"": true, "2": true, "3": true, "9": true, "15": true, "37": true, "SIGINT": true, "SIGQUIT": true, "SIGKILL": true, "SIGTERM": true, "SIGRTMIN+3": true}

// note records an event. It reports whether the containers may have changed.
func (w *dockerWatch) note(e dockerEvent) (changed bool) {
	if e.Type != "" && e.Type != "container" {
		return false
	}
	action, _, _ := strings.Cut(e.Action, ":") // "health_status: healthy"
	switch action {
	case "kill", "stop":
		if action == "kill" && !stopSignals[e.Actor.Attributes["signal"]] {
			return false
		}
		w.stopping[e.Actor.ID] = time.Now().Add(stopBelieved)
	case "start", "restart":
		delete(w.stopping, e.Actor.ID)
	case "die", "died", "destroy", "remove", "pause", "unpause", "rename", "update", "health_status", "connect", "disconnect", "oom":
	default:
		return false // such as exec_start, which health checks cause all the time
	}
	return true
}

// list lists the containers and pushes them.
func (w *dockerWatch) list(ctx context.Context) error {
	var containers []dockerContainer
	query := url.Values{"filters": {encode(w.filters())}}
	if w.podman { // else without those that stop
		query.Set("all", "true")
	}
	if _, err := w.api.getJSON(ctx, "/containers/json", query, 0, &containers); err != nil {
		return err
	}
	known := make(map[string]bool, len(containers))
	var u Update
	for i := range containers {
		c := &containers[i]
		known[c.ID] = true
		switch e, err := w.endpoint(c); {
		case errors.Is(err, errNotServing):
		case err != nil:
			u.ignore(c.name(), err)
		default:
			e.Draining = e.Draining || time.Now().Before(w.stopping[c.ID])
			u.Endpoints = append(u.Endpoints, e)
		}
	}
	for id := range w.stopping {
		if !known[id] {
			delete(w.stopping, id)
		}
	}
	w.update(u)
	return nil
}

// UnmarshalCaddyfile sets up the source from Caddyfile tokens. Syntax:
//
//	from docker {
//		label <labels...>   # key=value, or key; repeatable
//		network <name>
//		port <port>
//		host <address>
//		healthy
//	}
func (d *Docker) UnmarshalCaddyfile(disp *caddyfile.Dispenser) error {
	caddyfileutil.Head(disp)
	return caddyfileutil.Block(disp, caddyfileutil.Options{
		caddyfileutil.Repeat("label"): caddyfileutil.Valid(caddyfileutil.Strings(&d.Labels), d.checkLabels),
		"network":                     caddyfileutil.String(&d.Network),
		"port":                        ports.Option(&d.Port),
		"host":                        api("host", &d.Host),
		"healthy":                     caddyfileutil.Flag(&d.Healthy),
	})
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Docker)(nil)
	_ caddyfile.Unmarshaler = (*Docker)(nil)
	_ Source                = (*Docker)(nil)
)
