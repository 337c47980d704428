package reader

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/crash"
	"github.com/serialvisor/serialvisor/internal/frame"
	"github.com/serialvisor/serialvisor/internal/ipc"
	"github.com/serialvisor/serialvisor/internal/publish"
	"github.com/serialvisor/serialvisor/internal/ring"
)

// publishAll publishes the frames that are in the ring. end is what comes behind it.
func (r *reader) publishAll(ctx context.Context, end frame.End) error {
	now := time.Now()
	r.hold()
	defer r.release()
	for {
		data := r.rx.Data()
		if len(data) == 0 {
			break
		}
		f := r.codec.Split(data, frame.Position{Scanned: r.scanned, Continued: r.continued, End: end})
		if f.Size == 0 {
			r.scanned = len(data)
			break
		}
		if err := r.awaitRoom(ctx, r.rx.CanAdd); err != nil {
			return err
		}
		r.scanned, r.continued = 0, f.Flags&frame.Continued != 0
		cut := r.rx.Add(f.Skip, f.Size, now, uint8(f.Flags))
		crash.Point("rx-added")
		r.announce(ring.WantFrames) // before it is published, so that both go on at the same time
		if err := r.publish(ctx, cut, f.Payload); err != nil {
			return err
		}
	}
	r.published()
	return nil
}

// published sends what was published since the last call. Without a history that is all that can be done for it.
func (r *reader) published() {
	r.release()
	crash.Point("rx-published")
	if last, ok := r.rx.Last(); ok && r.history == nil {
		r.rx.Stored(last.Number + 1)
	}
	for _, f := range r.forwards {
		f.released()
	}
}

// publish puts one frame on the bus. The payload is the ring's or the codec's, so the message gets a copy.
func (r *reader) publish(ctx context.Context, f ring.Frame, payload []byte) error {
	flags := frame.Flags(f.Flags)
	m := &nats.Msg{Subject: r.subject, Data: append([]byte(nil), payload...), Header: nats.Header{
		ipc.HeaderTime:   {r.stamp.of(f.Time)},
		ipc.HeaderOffset: {strconv.FormatUint(f.Offset, 10)},
		ipc.HeaderMsgID:  {ipc.MessageID(r.Spec.Port, r.Spec.Session, f.Offset)},
	}}
	if flags != 0 {
		m.Header[ipc.HeaderFlags] = []string{flags.String()}
	}
	if r.skips {
		m.Header[ipc.HeaderSkipped] = []string{strconv.Itoa(f.Skip)}
	}
	switch {
	case r.rx.IsStored(f.Number):
	case r.history != nil:
		if err := r.history.Publish(ctx, m, f.Number+1); err != nil {
			return err
		}
	default:
		if err := r.traffic.PublishMsg(m); err != nil {
			r.Log.Debug("frame not published", "error", err)
		}
	}
	for i, to := range r.forwards {
		if !r.rx.IsForwarded(i, f.Number) {
			to.forward(ctx, m.Data, flags, f)
		}
	}
	return nil
}

// stamp formats times, of which all frames of a read have the same.
type stamp struct {
	time time.Time
	text string
}

func (s *stamp) of(t time.Time) string {
	if !t.Equal(s.time) || s.text == "" {
		s.time, s.text = t, ipc.FormatTime(t)
	}
	return s.text
}

// askLimit is how long the reader waits for the history to say what it has. Without an answer it relies on ids alone.
const askLimit = time.Second

// lastStored asks the history for the port's last frame, and returns its offset if it is of this session. What a predecessor has
// sent may be on its way yet: the history answers a question when it has seen to that.
func (r *reader) lastStored(ctx context.Context) (offset uint64, ok bool) {
	if _, any := r.rx.Last(); !any {
		return 0, false
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	if _, err := r.traffic.RequestMsgWithContext(ctx, publish.Question(r.Subjects.Again(r.subject))); err != nil {
		r.Log.Warn("the history does not say whether it has stored all that it was sent", "error", err)
		return 0, false
	}
	m, err := r.traffic.RequestWithContext(ctx, "$JS.API.DIRECT.GET."+r.Spec.History+"."+r.subject, nil)
	if err != nil {
		r.Log.Warn("the history does not say what it has", "error", err)
		return 0, false
	}
	// Without a frame there is a status in place of headers.
	text, ok := strings.CutPrefix(m.Header.Get(ipc.HeaderMsgID), ipc.MessagePrefix(r.Spec.Port, r.Spec.Session))
	if !ok {
		return 0, false
	}
	offset, err = strconv.ParseUint(text, 10, 64)
	return offset, err == nil
}
