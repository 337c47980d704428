package worker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/serialvisor/serialvisor/worker"
)

// A whole worker: it switches a siren on when a sensor says ALARM.
func Example() {
	worker.Run(func(ctx context.Context, w *worker.Worker) error {
		for f, err := range w.Frames(ctx, "sensor") {
			if errors.Is(err, worker.ErrMissed) {
				log.Print(err)
				continue
			}
			if err != nil {
				return err
			}
			if bytes.HasPrefix(f.Data, []byte("ALARM")) {
				if _, err := w.Send(ctx, "siren", []byte("ON")); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// Listening begins with the call of Frames, so the answer to what is sent after it cannot be missed.
func ExampleWorker_Frames() {
	ctx := context.Background()
	w, err := worker.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer w.Close()
	frames := w.Frames(ctx, "echo")
	if _, err := w.Send(ctx, "echo", []byte("hello")); err != nil {
		log.Fatal(err)
	}
	for f, err := range frames {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s says %s\n", f.Port, f)
		break
	}
	// Output: echo says hello
}

// The history of the last hour, and what comes from now on. It takes role tap.
func ExampleWorker_FramesSince() {
	ctx := context.Background()
	w, err := worker.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer w.Close()
	for f, err := range w.FramesSince(ctx, time.Hour, "gps") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(f.Time.Format(time.RFC3339Nano), f)
	}
}

func ExampleWorker_Send() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	w, err := worker.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer w.Close()
	_, err = w.Send(ctx, "echo", []byte("hello"), worker.TTL(5*time.Second))
	fmt.Println("queued:", err)
	_, err = w.Send(ctx, "nobody", []byte("hello"))
	fmt.Println("unknown port:", errors.Is(err, worker.ErrUnknownPort))
	// Output:
	// queued: <nil>
	// unknown port: true
}

func ExampleWorker_Request() {
	ctx := context.Background()
	w, err := worker.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer w.Close()
	answer, err := w.Request(ctx, "echo", []byte("*IDN?"), worker.Timeout(10*time.Second))
	fmt.Printf("%q, %v\n", answer, err)

	_, err = w.Request(ctx, "echo", []byte("only one line"), worker.Frames(2), worker.Timeout(time.Second))
	var refusal *worker.Error
	if errors.Is(err, worker.ErrTimeout) && errors.As(err, &refusal) {
		fmt.Printf("code %d, until then %q\n", refusal.Code, refusal.Answer)
	}
	// Output:
	// "*IDN?", <nil>
	// code 504, until then "only one line"
}

// Nobody else writes between the two requests.
func ExampleWorker_Lease() {
	ctx := context.Background()
	w, err := worker.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer w.Close()
	lease, err := w.Lease(ctx, "echo", 10*time.Second)
	if err != nil {
		log.Fatal(err)
	}
	for _, question := range []string{"UNLOCK 1234", "CALIBRATE"} {
		answer, err := lease.Request(ctx, []byte(question))
		fmt.Printf("%s %v\n", answer, err)
	}
	fmt.Println("given back:", lease.Close())
	// Output:
	// UNLOCK 1234 <nil>
	// CALIBRATE <nil>
	// given back: <nil>
}

// A worker whose loop is not one over frames says itself that it is alive, in each turn.
func ExampleWorker_Alive() {
	worker.Run(func(ctx context.Context, w *worker.Worker) error {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
			answer, err := w.Request(ctx, "thermometer", []byte("T?"))
			if err != nil {
				log.Print(err)
			} else if err := w.Status("it has " + string(answer) + " degrees"); err != nil {
				return err
			}
			if err := w.Alive(); err != nil {
				return err
			}
		}
	})
}
