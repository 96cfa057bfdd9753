const bar = document.getElementById("bar");
const events = new EventSource(bar.dataset.url);
events.onmessage = (event) => {
  const { done, total } = JSON.parse(event.data);
  bar.max = total;
  bar.value = done;
  if (done === total) events.close();
};
