// Starts every part of the page from its embedded data.

{
  const data = JSON.parse(document.getElementById("data").textContent);
  setUpDownloads(data);
  setUpLeaderboard(data);
  setUpCharts(data);
  setUpReplay(data);
}
