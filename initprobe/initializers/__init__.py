"""Weight and bias initializers: one frozen record each, which sampler and theory both read.

Start in `record.py`, then read a family. To add an initializer, edit the file of its family:

- `fixed.py`: numbers given, whatever the layer's size;
- `fan_scaled.py`: He, Glorot, LeCun;
- `framework_defaults.py`: what frameworks draw;
- `activation_tuned.py`: the scale depends on the activation;
- `data_driven.py`: fitted to the data.

`catalogue.py` joins the families, and `distributions.py` has the samplers.

`own.py` makes records of the user's own functions. `weight_files.py` reads a network from a file. `independence.py`
says whether its weights look independent, and `recognition.py` which rule they agree with.

A file may come in here if it says something about the weights of one layer. It reads no config.
"""
