// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/ballast-lb/caddy-ballast/internal/httpx"
)

// answer waits for the result of the run and answers the client. It must be called once.
func (r *run) answer(w http.ResponseWriter, req *http.Request) error {
	select {
	case <-r.answerReady:
	case <-req.Context().Done():
		r.pick <- nil
		if !r.leaveClient() {
			r.abort(gone, errGone)
		}
		httpx.SetReason(req, gone.String())
		return caddyhttp.Error(httpx.StatusGone, req.Context().Err())
	}
	r.mu.Lock()
	v, rep, first := r.result, r.report(), r.first
	r.mu.Unlock()
	placeholder(req, "pool", r.h.sender.Pool().Name)
	placeholder(req, "fanout", v.String())
	placeholder(req, "fanout.have", strings.Join(rep.Have, ","))
	placeholder(req, "fanout.have_not", strings.Join(rep.HaveNot, ","))
	placeholder(req, "fanout.unknown", strings.Join(rep.Unknown, ","))
	if v == reached && first != nil {
		placeholder(req, "backend", first.backend.ID)
		return r.relay(w, req)
	}
	r.pick <- nil
	status := http.StatusOK
	switch v {
	case lost:
		status = http.StatusBadGateway
	case late:
		status = http.StatusGatewayTimeout
	}
	if v != reached {
		httpx.SetReason(req, v.String())
	}
	text, err := json.MarshalIndent(rep, "", "\t")
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // the client may have left
	return nil
}

// relay gives the client the response of the first backend that accepted.
func (r *run) relay(w http.ResponseWriter, req *http.Request) error {
	// Only the try whose response the client gets ends with it; the others continue.
	stop := context.AfterFunc(req.Context(), func() { r.cancelFirst(errGone) })
	defer stop()
	r.pick <- w
	<-r.relayed
	r.mu.Lock()
	wrote, aborted := r.wrote, r.aborted
	r.mu.Unlock()
	switch {
	case wrote && aborted:
		// As reverse_proxy does: the client must notice that the response is incomplete.
		panic(http.ErrAbortHandler)
	case wrote:
		return nil
	case req.Context().Err() != nil:
		return caddyhttp.Error(httpx.StatusGone, req.Context().Err())
	}
	return caddyhttp.Error(http.StatusBadGateway, errors.New("fanout: the response was lost"))
}

func (r *run) cancelFirst(why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.first != nil && r.first.cancel != nil {
		r.first.cancel(why)
	}
}

// report returns the current state of the run. The caller must hold r.mu.
func (r *run) report() *report {
	rep := &report{
		Result: r.result.String(), Quorum: r.h.quorum.String(), Of: r.total, Needed: r.h.quorum.need(r.total),
		Key: r.template.Header.Get(r.h.IdempotencyHeader), LeftOut: r.leftOut,
		Have: []string{}, HaveNot: []string{}, Unknown: []string{},
	}
	for _, t := range r.targets {
		b := backendReport{
			ID: t.backend.ID, Address: t.backend.Address, Write: t.write(),
			Status: t.status, Tries: t.tries, Seconds: seconds(t.took), Error: t.err,
			Pending: !t.accepted && !t.closed && (!r.retriesDone || t.inFlight),
		}
		if t.inFlight && b.Error == "" {
			b.Error = "no answer yet"
		}
		if t.left {
			rep.Left = append(rep.Left, b.ID)
		}
		rep.add(b)
	}
	rep.Accepted = len(rep.Have)
	for _, b := range r.h.sender.Pool().View().Members.All {
		if !r.known[b.Address] {
			rep.Joined = append(rep.Joined, b.ID)
		}
	}
	return rep
}

// announceFailure logs and emits an event that the run ended without its quorum. The caller
// holds r.mu.
func (r *run) announceFailure() {
	rep := r.report()
	have, haveNot, unknown := strings.Join(rep.Have, ","), strings.Join(rep.HaveNot, ","), strings.Join(rep.Unknown, ",")
	data := map[string]any{
		"fanout": r.h.label, "pool": r.h.sender.Pool().Name, "reason": rep.Result,
		"have": have, "have_not": haveNot, "unknown": unknown, "idempotency_key": rep.Key,
	}
	r.h.executor.Execute(func() { r.h.tell(data) })
}
